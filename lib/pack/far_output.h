// SPDX-License-Identifier: Apache-2.0
// The files of weights of a plan while several threads write to them, and what of them is on the disk.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "os/copy.h"
#include "os/file.h"
#include "pack/plan.h"

namespace mu {

class FarOutput {
 public:
  // Borrows both. The files have their sizes already.
  FarOutput(const PackPlan& plan, std::vector<OutputFile>& files);

  // Where a tensor begins in its file.
  [[nodiscard]] std::uint64_t offset_of(std::size_t file, std::size_t tensor) const {
    return offsets_[file][tensor];
  }
  [[nodiscard]] OutputFile& file(std::size_t file) { return files_[file]; }

  // Thread safe, all of them. What is written through file() has to be touched afterwards.
  void write(std::size_t file, std::uint64_t offset, std::span<const std::byte> bytes);
  void touch(std::size_t file) { dirty_[file] = true; }
  // Waits until all that was written before is on the disk. Once that failed, it fails for ever: the kernel tells it
  // only once, and what was lost is not known.
  void sync();

 private:
  std::vector<OutputFile>& files_;
  std::vector<std::vector<std::uint64_t>> offsets_;
  std::vector<std::atomic<bool>> dirty_;
  std::mutex syncing_;  // who finds a file clean has waited for the sync that made it so
  std::exception_ptr failed_{};
};

}  // namespace mu
