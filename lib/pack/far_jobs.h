// SPDX-License-Identifier: Apache-2.0
// Makes the tensors that need more than a copy, one after the other in a thread of its own, while the fetch goes on.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "fetch/mirror.h"
#include "fetch/needs.h"
#include "pack/far_output.h"
#include "pack/far_plan.h"
#include "pack/far_record.h"
#include "pack/tensor_writer.h"

namespace mu {

class FarJobs {
 public:
  struct Work {
    const PackPlan& plan;
    const FarPlan& far;
    FarOutput& output;
    Needs& needs;
    Mirror& mirror;
    const TensorWriter& writer;
    bool hashes = false;                         // find the hash of each tensor, for --verify
    std::function<void(const FarStep&)> note{};  // writes down what is on the disk
  };

  // Without those that an earlier run has done. Borrows what `work` refers to.
  FarJobs(Work work, std::vector<bool> done);
  FarJobs(const FarJobs&) = delete;
  FarJobs& operator=(const FarJobs&) = delete;
  ~FarJobs();  // ends after the job that is under way

  // All needs before `point` of the sequence are in the mirror. Waits while jobs that could be made take up too much of
  // it: the network is faster than we are. Throws the fault of a job.
  void ready_until(const SequencePoint& point);
  // Waits until all are made. Throws the fault of one.
  void finish();

 private:
  void run();
  void make(std::size_t number, FarStep& step);
  void settle(FarStep& step);
  [[nodiscard]] std::uint64_t needed_by(std::size_t job) const;
  void rethrow();

  Work work_;
  std::vector<bool> done_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::size_t ready_ = 0, next_ = 0;  // jobs before them may be made, are made or under way
  std::uint64_t waiting_ = 0;         // bytes of the mirror that those before ready_ need
  bool closed_ = false, stopped_ = false, ended_ = false;
  std::exception_ptr fault_{};
  std::vector<bool> noted_;  // modules of --quantize whose error was written down
  std::thread thread_;
};

}  // namespace mu
