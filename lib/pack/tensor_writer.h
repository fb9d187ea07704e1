// SPDX-License-Identifier: Apache-2.0
// Writes one planned file of weights: its header, then its tensors, copied or cast.
#pragma once

#include <functional>

#include "os/copy.h"
#include "pack/plan.h"
#include "pack/write_result.h"

namespace mu {

class TensorWriter {
 public:
  TensorWriter(unsigned threads, OnBytes on_bytes) : threads_(threads), on_bytes_(std::move(on_bytes)) {}

  // Writes into a file, by position.
  void write(const WeightsOutput& plan, OutputFile& out, WriteResult& result) const;
  // Only tensors [first, last), which begin at `offset` of the file.
  void write(const WeightsOutput& plan, std::size_t first, std::size_t last, std::uint64_t offset,
             OutputFile& out, WriteResult& result) const;
  // Writes to standard output, in order.
  void stream(const WeightsOutput& plan, WriteResult& result) const;

  // The input file that equals the planned file byte for byte, or null: it can be shared as a whole.
  [[nodiscard]] static const InputFile* whole_copy_of(const WeightsOutput& plan);

  // Bytes [at, at + out.size()) of a tensor of a planned file as it will be written; `at` is the start of an
  // element.
  static void read_output(const WeightsOutput& plan, const PackedTensor& tensor, std::uint64_t at,
                          std::span<std::byte> out, CastReport& report);

 private:
  void copy_run(const WeightsOutput& plan, std::size_t first, std::size_t last, std::uint64_t offset,
                OutputFile& out) const;
  void work_run(const WeightsOutput& plan, std::size_t first, std::size_t last, std::uint64_t offset,
                OutputFile& out, WriteResult& result) const;

  unsigned threads_;
  OnBytes on_bytes_;
};

}  // namespace mu
