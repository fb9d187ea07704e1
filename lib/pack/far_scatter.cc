// SPDX-License-Identifier: Apache-2.0
// A block meets a number of copies. What goes to neighbouring places of one file from neighbouring bytes in memory is
// one write, so that many small tensors are not many system calls; casts go through a buffer of which the same holds.
//
// Where a tensor does not begin at a multiple of its element from the begin of the range, blocks cut elements in two.
// Their bytes are kept until the others have come.
#include "pack/far_scatter.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "hash/crc32.h"
#include "tensor/cast.h"

namespace mu {
namespace {

constexpr std::size_t kCastBuffer = 256U << 10;  // bytes, for each thread that takes blocks

bool has_loss(const CastReport& report) {
  return report.overflowed + report.clipped + report.underflowed > 0;
}

}  // namespace

// Bytes of a copy that are there.
struct FarScatter::Part {
  std::uint64_t at;  // into the copy
  std::span<const std::byte> bytes;
};

// What will be written at once.
class FarScatter::Run {
 public:
  Run(FarOutput& output, const OnBytes& on_bytes) : output_(output), on_bytes_(on_bytes) {}

  // Neighbours in the file that are neighbours in memory become one. The bytes stay in place until flush().
  void add(std::size_t file, std::uint64_t offset, std::span<const std::byte> bytes) {
    const bool follows = file == file_ && offset == offset_ + run_.size() &&
                         bytes.data() == run_.data() + run_.size();  // NOLINT: of one array, or not equal
    if (follows && !run_.empty()) {
      run_ = {run_.data(), run_.size() + bytes.size()};
      return;
    }
    flush();
    file_ = file;
    offset_ = offset;
    run_ = bytes;
  }

  // Memory for at least one element; what is in it stays until flush().
  std::span<std::byte> room(std::size_t size) {
    thread_local std::vector<std::byte> buffer(kCastBuffer);
    if (used_ + 8 > buffer.size()) {
      flush();
      used_ = 0;
    }
    const std::size_t given = std::min(size, (buffer.size() - used_) / 8 * 8);
    const std::span<std::byte> room = std::span(buffer).subspan(used_, given);
    used_ += given;
    return room;
  }

  void flush() {
    if (run_.empty()) return;
    output_.write(file_, offset_, run_);
    if (on_bytes_) on_bytes_(run_.size());
    run_ = {};
  }

 private:
  FarOutput& output_;
  const OnBytes& on_bytes_;
  std::size_t file_ = 0, used_ = 0;
  std::uint64_t offset_ = 0;
  std::span<const std::byte> run_{};
};

FarScatter::FarScatter(const PackPlan& plan, const FarPlan& far, FarOutput& output, const Needs& needs,
                       Mirror& mirror, bool sums, OnBytes on_bytes)
    : plan_(plan),
      far_(far),
      output_(output),
      needs_(needs),
      mirror_(mirror),
      sums_(sums),
      on_bytes_(std::move(on_bytes)) {
  for (std::size_t i = 0; i < far.copies.size(); ++i) {
    const FarRange& from = far.copies[i].from;
    const bool first = i == 0 || far.copies[i - 1].range != far.copies[i].range;
    reach_.push_back(std::max(first ? 0 : reach_.back(), from.offset + from.size));
  }
}

// The copies of a range that meet bytes [begin, end) of its file.
template <typename Visit>
void FarScatter::for_copies(std::size_t range, std::uint64_t begin, std::uint64_t end, Visit visit) const {
  const auto number = [&](const FarCopy& copy) {
    return static_cast<std::size_t>(&copy - far_.copies.data());
  };
  auto copy = std::partition_point(far_.copies.begin(), far_.copies.end(), [&](const FarCopy& one) {
    return one.range < range || (one.range == range && reach_[number(one)] <= begin);
  });
  for (; copy != far_.copies.end() && copy->range == range && copy->from.offset < end; ++copy) {
    if (copy->from.offset + copy->from.size > begin) visit(*copy);
  }
}

void FarScatter::begin(const SequencePoint& start) {
  if (start.range >= far_.sequence.size()) return;
  const std::uint64_t here = far_.sequence[start.range].offset + start.at;
  for_copies(start.range, here, here + 1, [&](const FarCopy& one) {
    const PackedTensor& tensor = plan_.weights[one.file].tensors[one.tensor];
    if (tensor.input->dtype == tensor.output.dtype || here <= one.from.offset) return;
    const std::uint64_t width = bits(tensor.input->dtype) / 8, at = here - one.from.offset;
    std::array<std::byte, 8> bytes{};
    const std::span<std::byte> missing = std::span(bytes).first(static_cast<std::size_t>(at % width));
    if (missing.empty()) return;
    one.from.file->read(here - missing.size(), missing);
    add_cut(one, at - missing.size(), missing);
  });
}

void FarScatter::take(const FarBlock& block) {
  const FarRange here{far_.sequence[block.range].file, block.offset, block.bytes.size()};
  keep_needed(mirror_, needs_, *here.file, block.offset, block.bytes);
  Run run(output_, on_bytes_);
  for_copies(block.range, here.offset, here.offset + here.size, [&](const FarCopy& one) {
    const std::uint64_t begin = std::max(one.from.offset, here.offset);
    const std::uint64_t end = std::min(one.from.offset + one.from.size, here.offset + here.size);
    copy(one,
         {begin - one.from.offset, block.bytes.subspan(static_cast<std::size_t>(begin - here.offset),
                                                       static_cast<std::size_t>(end - begin))},
         run);
  });
  run.flush();
}

void FarScatter::copy(const FarCopy& copy, const Part& part, Run& run) {
  const PackedTensor& tensor = plan_.weights[copy.file].tensors[copy.tensor];
  if (tensor.input->dtype != tensor.output.dtype) return cast_part(copy, part, run);
  const std::uint64_t at = copy.at + part.at;
  run.add(copy.file, output_.offset_of(copy.file, copy.tensor) + at, part.bytes);
  note_piece(copy, part.at + part.bytes.size(), at, part.bytes);
}

void FarScatter::cast_part(const FarCopy& copy, const Part& part, Run& run) {
  const PackedTensor& tensor = plan_.weights[copy.file].tensors[copy.tensor];
  const std::uint64_t in = bits(tensor.input->dtype) / 8, out = bits(tensor.output.dtype) / 8;
  const std::uint64_t to_next = (in - part.at % in) % in;
  const std::size_t head = static_cast<std::size_t>(std::min<std::uint64_t>(to_next, part.bytes.size()));
  const std::size_t tail = (part.bytes.size() - head) % in;
  if (head > 0) add_cut(copy, part.at, part.bytes.first(head));
  if (tail > 0) add_cut(copy, part.at + part.bytes.size() - tail, part.bytes.last(tail));
  std::span<const std::byte> body = part.bytes.subspan(head, part.bytes.size() - head - tail);
  std::uint64_t at = part.at + head;
  CastReport report;
  while (!body.empty()) {
    const std::span<std::byte> room = run.room(static_cast<std::size_t>(body.size() / in * out));
    const std::size_t size = room.size() / out * in;
    cast(tensor.input->dtype, tensor.output.dtype, body.first(size), room, report);
    const std::uint64_t to = (copy.at + at) / in * out;
    run.add(copy.file, output_.offset_of(copy.file, copy.tensor) + to, room);
    note_piece(copy, at + size, to, room);
    body = body.subspan(size);
    at += size;
  }
  note(copy, at, report);
}

// Bytes of one element, the one that holds byte `at` of the copy.
void FarScatter::add_cut(const FarCopy& copy, std::uint64_t at, std::span<const std::byte> bytes) {
  const PackedTensor& tensor = plan_.weights[copy.file].tensors[copy.tensor];
  const std::uint64_t in = bits(tensor.input->dtype) / 8, out = bits(tensor.output.dtype) / 8;
  const std::uint64_t element = at / in * in;
  Cut whole;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::pair key{static_cast<std::size_t>(&copy - far_.copies.data()), element};
    Cut& cut = cuts_[key];
    std::memcpy(cut.bytes.data() + (at - element), bytes.data(), bytes.size());
    cut.have += bytes.size();
    if (cut.have < in) return;
    whole = cut;
    cuts_.erase(key);
  }
  std::array<std::byte, 8> made{};
  const std::span<std::byte> to = std::span(made).first(static_cast<std::size_t>(out));
  CastReport report;
  cast(tensor.input->dtype, tensor.output.dtype, std::span(whole.bytes).first(static_cast<std::size_t>(in)),
       to, report);
  const std::uint64_t place = (copy.at + element) / in * out;
  output_.write(copy.file, output_.offset_of(copy.file, copy.tensor) + place, to);
  if (on_bytes_) on_bytes_(to.size());
  note_piece(copy, element + in, place, to);
  note(copy, element + in, report);
}

SequencePoint FarScatter::point_of(const FarCopy& copy, std::uint64_t end) const {
  return {copy.range, copy.from.offset + end - far_.sequence[copy.range].offset};
}

void FarScatter::note(const FarCopy& copy, std::uint64_t end, const CastReport& report) {
  if (!has_loss(report)) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  losses_.push_back({point_of(copy, end), {copy.file, copy.tensor, report}});
}

void FarScatter::note_piece(const FarCopy& copy, std::uint64_t end, std::uint64_t at,
                            std::span<const std::byte> bytes) {
  if (!sums_) return;
  const std::uint32_t crc = crc32(bytes);
  const std::lock_guard<std::mutex> lock(mutex_);
  pieces_.push_back({point_of(copy, end), {copy.file, copy.tensor, at, bytes.size(), crc}});
}

namespace {

// Moves those that ended before `end` from one list to the other.
template <typename One>
void move_passed(std::vector<std::pair<SequencePoint, One>>& from, const SequencePoint& end,
                 std::vector<One>& to) {
  const auto later =
      std::stable_partition(from.begin(), from.end(), [&](const auto& one) { return one.first <= end; });
  std::transform(from.begin(), later, std::back_inserter(to), [](const auto& one) { return one.second; });
  from.erase(from.begin(), later);
}

}  // namespace

FarStep FarScatter::passed(const SequencePoint& end) {
  FarStep step;
  const std::lock_guard<std::mutex> lock(mutex_);
  move_passed(losses_, end, step.losses);
  move_passed(pieces_, end, step.pieces);
  return step;
}

}  // namespace mu
