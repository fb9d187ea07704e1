// SPDX-License-Identifier: Apache-2.0
// Works on pairs of tensors, on several threads, while the rest of them is still being read.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "lora/pair_fetch.h"
#include "lora/pair_work.h"

namespace mu {

class PairJobs {
 public:
  // Called with places in `jobs` of those whose results are to be made to last.
  using Settle = std::function<void(const std::vector<std::size_t>& done)>;

  // Begins with what is ready. Borrows all; `jobs` are by their end. `on_found` may be empty.
  PairJobs(const std::vector<PairFetch::Job>& jobs, const PairPlan& plan, PairWork& work,
           const PairRunOptions& options, std::vector<FoundTensor>& found, Settle settle,
           std::function<void()> on_found);
  PairJobs(const PairJobs&) = delete;
  PairJobs& operator=(const PairJobs&) = delete;
  ~PairJobs();  // ends when the pairs that are under way are done

  // All before `point` of the sequence is there. Waits while pairs that nobody has begun take up much of the mirror: the
  // network is faster than we are. Throws the fault of a job.
  void ready_until(const SequencePoint& point);
  // Waits until all are done and settled. Throws the fault of one.
  void finish();

 private:
  void run();
  [[nodiscard]] bool can_begin() const;
  void work_on_next(std::unique_lock<std::mutex>& lock);
  void settle_done(std::unique_lock<std::mutex>& lock);

  const std::vector<PairFetch::Job>& jobs_;
  const PairPlan& plan_;
  PairWork& work_;
  const PairRunOptions& o_;
  std::vector<FoundTensor>& found_;
  Settle settle_;
  std::function<void()> on_found_;
  unsigned inner_;  // threads for one of several matrices

  std::mutex mutex_;  // guards what follows, and found_
  std::condition_variable changed_;
  std::size_t ready_ = 0, next_ = 0;       // jobs before them can be begun, were begun
  std::size_t running_ = 0, settled_ = 0;  // jobs
  bool is_alone_ = false;                  // one that has all threads is under way
  std::uint64_t waiting_ = 0;              // bytes that jobs before ready_ need and that are not settled
  std::vector<std::size_t> done_;          // not settled
  std::uint64_t done_bytes_ = 0;           // that they needed
  bool stopped_ = false;
  std::exception_ptr fault_{};
  std::vector<std::thread> threads_;
};

}  // namespace mu
