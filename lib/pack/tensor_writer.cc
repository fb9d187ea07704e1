// SPDX-License-Identifier: Apache-2.0
// The tensors of a file are divided into runs. A run of unchanged tensors that are also adjacent in one input
// file is a single copy; a run of tensors that are cast or gathered is a list of pieces for the worker
// threads.
#include "pack/tensor_writer.h"

#include <algorithm>
#include <bit>

#include "base/bytes.h"
#include "os/far.h"
#include "os/interrupt.h"
#include "os/threads.h"
#include "weights/layout.h"

namespace mu {
namespace {

constexpr std::uint64_t kPieceElements = 256U
                                         << 10;  // of a cast: at most 2 MiB in and 2 MiB out for each thread
constexpr std::uint64_t kStreamPiece =
    1U << 20;  // bytes written at a time: many for a system call, few for memory
// Each piece of a tensor that is stored transposed needs some of almost all its bytes, which have to come over the
// network again for each.
constexpr std::uint64_t kFarPiece = 16U << 20;

bool is_cast(const PackedTensor& tensor) {
  return tensor.input->dtype != tensor.output.dtype;
}

// Whether its bytes must pass through our buffers: it is cast, or gathered from several places.
bool is_worked(const PackedTensor& tensor) {
  return is_cast(tensor) || (tensor.input->layout && byte_ranges(*tensor.input).empty());
}

// A piece of a cast tensor: where it goes and how large it is.
struct Piece {
  std::size_t tensor;
  std::uint64_t at;      // bytes into the output tensor
  std::uint64_t size;    // bytes of output
  std::uint64_t offset;  // in the output file
};

void note_losses(const WeightsOutput& plan, const PackedTensor& tensor, const CastReport& report,
                 WriteResult& result) {
  if (report.overflowed + report.clipped + report.underflowed == 0) return;
  result.losses.emplace_back(plan.label(tensor), report);
}

}  // namespace

const InputFile* TensorWriter::whole_copy_of(const WeightsOutput& plan) {
  if (plan.tensors.empty()) return nullptr;
  const std::uint32_t source = plan.tensors.front().input->source;
  const WeightsFile& file = plan.from->files[source];
  if (!file.file || file.size != plan.size || file.data_begin != plan.prefix.size()) return nullptr;
  std::uint64_t offset = file.data_begin;
  for (const PackedTensor& tensor : plan.tensors) {
    if (is_cast(tensor) || tensor.input->layout || tensor.input->source != source ||
        tensor.input->offset != offset)
      return nullptr;
    offset += tensor.output.size;
  }
  std::string prefix(plan.prefix.size(), '\0');
  file.file->read_at(0, std::as_writable_bytes(std::span(prefix)));
  return prefix == plan.prefix ? &*file.file : nullptr;
}

void TensorWriter::read_output(const WeightsOutput& plan, const PackedTensor& tensor, std::uint64_t at,
                               std::span<std::byte> out, CastReport& report) {
  if (!is_cast(tensor)) return plan.from->read(*tensor.input, at, out, &report);
  const std::uint64_t in_bits = bits(tensor.input->dtype);
  const std::uint64_t out_bits = bits(tensor.output.dtype);
  thread_local std::vector<std::byte> buffer;
  buffer.resize(out.size() * in_bits / out_bits);
  plan.from->read(*tensor.input, at * in_bits / out_bits, buffer, &report);
  cast(tensor.input->dtype, tensor.output.dtype, buffer, out, report);
}

void TensorWriter::copy_run(const WeightsOutput& plan, std::size_t first, std::size_t last,
                            std::uint64_t offset, OutputFile& out) const {
  // Adjacent ranges of an input file are one copy.
  ByteRange run{0, 0, 0};
  const auto copy = [&] {
    if (run.size == 0) return;
    copy_range(*plan.from->files[run.source].file, run.offset, out, offset, run.size, on_bytes_);
    offset += run.size;
  };
  for (std::size_t i = first; i < last; ++i) {
    check_interrupt();
    for (const ByteRange& range : byte_ranges(*plan.tensors[i].input)) {
      if (run.size > 0 && range.source == run.source && range.offset == run.offset + run.size) {
        run.size += range.size;
        continue;
      }
      copy();
      run = range;
    }
  }
  copy();
}

void TensorWriter::work_run(const WeightsOutput& plan, std::size_t first, std::size_t last,
                            std::uint64_t offset, OutputFile& out, WriteResult& result) const {
  std::vector<Piece> pieces;
  for (std::size_t i = first; i < last; ++i) {
    const std::uint64_t size = plan.tensors[i].output.size;
    const std::uint64_t step = kPieceElements * bits(plan.tensors[i].output.dtype) / 8;
    for (std::uint64_t at = 0; at < size; at += step)
      pieces.push_back({i, at, std::min(step, size - at), offset + at});
    offset += size;
  }
  std::vector<CastReport> reports(pieces.size());
  parallel_for(pieces.size(), threads_, [&](std::size_t index) {
    const Piece& piece = pieces[index];
    thread_local std::vector<std::byte> buffer;
    buffer.resize(static_cast<std::size_t>(piece.size));
    read_output(plan, plan.tensors[piece.tensor], piece.at, buffer, reports[index]);
    out.write_at(piece.offset, buffer);
    start_writeback(out, piece.offset, piece.size);
    if (on_bytes_) on_bytes_(piece.size);
  });
  std::vector<CastReport> per_tensor(last - first);
  for (std::size_t i = 0; i < pieces.size(); ++i) per_tensor[pieces[i].tensor - first].add(reports[i]);
  for (std::size_t i = first; i < last; ++i)
    note_losses(plan, plan.tensors[i], per_tensor[i - first], result);
}

void TensorWriter::write(const WeightsOutput& plan, OutputFile& out, WriteResult& result) const {
  out.write_at(0, as_bytes(plan.prefix));
  write(plan, 0, plan.tensors.size(), plan.prefix.size(), out, result);
}

void TensorWriter::write(const WeightsOutput& plan, std::size_t first, std::size_t last, std::uint64_t offset,
                         OutputFile& out, WriteResult& result) const {
  while (first < last) {
    const bool worked = is_worked(plan.tensors[first]);
    std::size_t end = first;
    std::uint64_t size = 0;
    while (end < last && is_worked(plan.tensors[end]) == worked) size += plan.tensors[end++].output.size;
    if (worked) {
      work_run(plan, first, end, offset, out, result);
    } else {
      copy_run(plan, first, end, offset, out);
    }
    offset += size;
    first = end;
  }
}

namespace {

// How many bytes of a tensor are made at a time. Where they are gathered, whole rows, since few elements of a column lie
// close together; what is computed takes more memory than its bytes.
std::uint64_t stream_piece(const PackedTensor& tensor) {
  const bool gathered = is_worked(tensor) && byte_ranges(*tensor.input).empty();
  if (!has_far() || !gathered || tensor.input->layout->compute) return kStreamPiece;
  const std::uint64_t wider = bits(tensor.input->dtype) / bits(tensor.output.dtype);
  const std::uint64_t most =
      kFarPiece / std::bit_ceil(std::max<std::uint64_t>(1, wider));  // with what a cast reads
  std::uint64_t row = tensor.output.size;
  for (const std::uint64_t count : tensor.output.shape) {
    if (row <= most || row % count != 0) break;
    row /= count;
  }
  return row == 0 || row > most ? most : most / row * row;
}

}  // namespace

void TensorWriter::stream(const WeightsOutput& plan, WriteResult& result) const {
  constexpr std::string_view kName = "standard output";
  write_stream(1, plan.prefix, kName);
  std::vector<std::byte> buffer;
  for (const PackedTensor& tensor : plan.tensors) {
    CastReport report;
    const std::uint64_t step = stream_piece(tensor);
    buffer.resize(
        static_cast<std::size_t>(std::max<std::uint64_t>(buffer.size(), std::min(step, tensor.output.size))));
    for (std::uint64_t at = 0; at < tensor.output.size; at += step) {
      check_interrupt();
      const std::span<std::byte> piece =
          std::span(buffer).first(static_cast<std::size_t>(std::min(step, tensor.output.size - at)));
      read_output(plan, tensor, at, piece, report);
      write_stream(1, as_text(piece), kName);
      if (on_bytes_) on_bytes_(piece.size());
    }
    note_losses(plan, tensor, report, result);
  }
}

}  // namespace mu
