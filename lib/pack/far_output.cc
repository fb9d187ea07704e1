// SPDX-License-Identifier: Apache-2.0
#include "pack/far_output.h"

namespace mu {

FarOutput::FarOutput(const PackPlan& plan, std::vector<OutputFile>& files)
    : files_(files), dirty_(files.size()) {
  for (const WeightsOutput& file : plan.weights) {
    std::uint64_t offset = file.prefix.size();
    offsets_.emplace_back();
    for (const PackedTensor& tensor : file.tensors) {
      offsets_.back().push_back(offset);
      offset += tensor.output.size;
    }
  }
}

void FarOutput::write(std::size_t file, std::uint64_t offset, std::span<const std::byte> bytes) {
  files_[file].write_at(offset, bytes);
  start_writeback(files_[file], offset, bytes.size());
  touch(file);
}

void FarOutput::sync() {
  const std::lock_guard<std::mutex> lock(syncing_);
  if (failed_) std::rethrow_exception(failed_);
  try {
    for (std::size_t i = 0; i < files_.size(); ++i) {
      if (dirty_[i].exchange(false)) files_[i].sync();
    }
  } catch (...) {
    failed_ = std::current_exception();
    throw;
  }
}

}  // namespace mu
