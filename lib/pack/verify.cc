// SPDX-License-Identifier: Apache-2.0
#include "pack/verify.h"

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "hash/crc32.h"
#include "os/file.h"
#include "os/threads.h"
#include "pack/tensor_writer.h"
#include "weights/digest.h"

namespace mu {
namespace {

bool is_same(const TensorSum& expected, const TensorSum& actual) {
  return expected.hash.empty() ? expected.crc == actual.crc : expected.hash == actual.hash;
}

}  // namespace

TensorSum sum_of_input(const WeightsOutput& file, std::size_t which) {
  const PackedTensor& tensor = file.tensors[which];
  CastReport unused;
  const auto read = [&](std::uint64_t at, std::span<std::byte> out) {
    TensorWriter::read_output(file, tensor, at, out, unused);
  };
  return {tensor_hash(name(tensor.output.dtype), tensor.output.shape, tensor.output.size, read), 0};
}

std::string verify_output(const PackPlan& plan, const std::vector<std::string>& paths, unsigned threads,
                          const Expected& expected) {
  std::vector<std::pair<std::string, std::string>> hashes;
  const auto in_subfolder = [](const WeightsOutput& file) {
    return file.name.find('/') != std::string::npos;
  };
  const bool has_top = !std::all_of(plan.weights.begin(), plan.weights.end(), in_subfolder);
  for (std::size_t f = 0; f < plan.weights.size(); ++f) {
    const WeightsOutput& file = plan.weights[f];
    const InputFile written(paths[f]);
    ::posix_fadvise(written.fd()->get(), 0, 0, POSIX_FADV_DONTNEED);  // from the disk, not from memory
    std::string prefix(file.prefix.size(), '\0');
    written.read_at(0, std::as_writable_bytes(std::span(prefix)));
    bool same = prefix == file.prefix && written.size() == file.size;
    std::vector<std::uint64_t> offsets;
    std::uint64_t offset = file.prefix.size();
    for (const PackedTensor& tensor : file.tensors) {
      offsets.push_back(offset);
      offset += tensor.output.size;
    }
    std::vector<std::pair<std::string, std::string>> found(file.tensors.size());
    std::atomic<bool> differs{false};
    parallel_for(same ? file.tensors.size() : 0, threads, [&](std::size_t i) {
      const PackedTensor& tensor = file.tensors[i];
      const std::optional<TensorSum> should = expected(file, i);
      TensorSum actual;
      actual.hash = tensor_hash(name(tensor.output.dtype), tensor.output.shape, tensor.output.size,
                                [&](std::uint64_t at, std::span<std::byte> out) {
                                  written.read_at(offsets[i] + at, out);
                                  if (should && should->hash.empty()) actual.crc = crc32(out, actual.crc);
                                });
      if (should && !is_same(*should, actual)) differs = true;
      found[i] = {file.label(tensor), actual.hash};
    });
    if (!same || differs) {
      throw Error(ErrorKind::kIo, "read back different bytes than were written")
          .in_file(escape_name(paths[f]))
          .hint("the disk or the memory is faulty; nothing was put in place");
    }
    if (!has_top || !in_subfolder(file)) hashes.insert(hashes.end(), found.begin(), found.end());
  }
  return content_digest(std::move(hashes));
}

}  // namespace mu
