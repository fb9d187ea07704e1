// SPDX-License-Identifier: Apache-2.0
#include "lora/pair_jobs.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace mu {
namespace {

constexpr std::uint64_t kMaxWaiting = 64U << 20;  // bytes in the mirror that could be used already
constexpr std::uint64_t kSettle = 16U << 20;      // bytes of needs whose jobs are settled together

}  // namespace

PairJobs::PairJobs(const std::vector<PairFetch::Job>& jobs, const PairPlan& plan, PairWork& work,
                   const PairRunOptions& options, std::vector<FoundTensor>& found, Settle settle,
                   std::function<void()> on_found)
    : jobs_(jobs),
      plan_(plan),
      work_(work),
      o_(options),
      found_(found),
      settle_(std::move(settle)),
      on_found_(std::move(on_found)) {
  std::vector<std::size_t> units;
  for (const PairFetch::Job& job : jobs) units.push_back(job.unit);
  inner_ = threads_of_matrix(plan, units, options.threads);
  try {
    for (std::size_t i = 0; i < std::min<std::size_t>(options.threads, jobs.size()); ++i)
      threads_.emplace_back(&PairJobs::run, this);
  } catch (const std::system_error& error) {
    if (threads_.empty()) throw io_error("start a thread", error.code().value());
  }
}

PairJobs::~PairJobs() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void PairJobs::ready_until(const SequencePoint& point) {
  std::unique_lock<std::mutex> lock(mutex_);
  for (; ready_ < jobs_.size() && jobs_[ready_].end <= point; ++ready_)
    waiting_ += bytes_of(jobs_[ready_].needs);
  changed_.notify_all();
  changed_.wait(lock, [this] { return waiting_ <= kMaxWaiting || next_ == ready_ || fault_; });
  if (fault_) std::rethrow_exception(fault_);
}

void PairJobs::finish() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return settled_ == jobs_.size() || fault_; });
  if (fault_) std::rethrow_exception(fault_);
}

bool PairJobs::can_begin() const {
  if (next_ == ready_ || is_alone_) return false;
  return running_ == 0 || !PairWork::is_alone(plan_.tensors[jobs_[next_].unit]);
}

void PairJobs::run() {
  std::unique_lock<std::mutex> lock(mutex_);
  try {
    while (true) {
      changed_.wait(lock, [this] { return stopped_ || fault_ || can_begin(); });
      if (stopped_ || fault_) return;
      work_on_next(lock);
      if (done_bytes_ >= kSettle || (next_ == ready_ && running_ == 0)) settle_done(lock);
    }
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    if (!fault_) fault_ = std::current_exception();
    changed_.notify_all();
  }
}

void PairJobs::work_on_next(std::unique_lock<std::mutex>& lock) {
  const std::size_t k = next_++;
  const std::size_t unit = jobs_[k].unit;
  const PairTensor& pair = plan_.tensors[unit];
  const bool alone = PairWork::is_alone(pair);
  is_alone_ = alone;
  ++running_;
  lock.unlock();
  changed_.notify_all();  // who waits for all that is ready to be begun
  FoundTensor one = work_.find(unit, alone ? o_.threads : inner_);
  if (o_.on_bytes) o_.on_bytes(size_of(pair, pair.tuned));
  lock.lock();
  --running_;
  is_alone_ = false;
  found_[unit] = std::move(one);
  if (on_found_) on_found_();
  done_.push_back(k);
  done_bytes_ += bytes_of(jobs_[k].needs);
  changed_.notify_all();
}

void PairJobs::settle_done(std::unique_lock<std::mutex>& lock) {
  const std::vector<std::size_t> done = std::exchange(done_, {});
  const std::uint64_t bytes = std::exchange(done_bytes_, 0);
  lock.unlock();
  settle_(done);
  lock.lock();
  settled_ += done.size();
  waiting_ -= bytes;
  changed_.notify_all();
}

}  // namespace mu
