// SPDX-License-Identifier: Apache-2.0
#include "pack/far_jobs.h"

#include <utility>

#include "pack/verify.h"

namespace mu {
namespace {

constexpr std::uint64_t kMaxWaiting = 64U << 20;  // bytes in the mirror that could be used already
constexpr std::uint64_t kBatch =
    16U << 20;                            // bytes of needs, or of output, that are synced and noted together
constexpr std::uint64_t kLocalPart = 16;  // of output that costs the network nothing, so much more

}  // namespace

FarJobs::FarJobs(Work work, std::vector<bool> done)
    : work_(std::move(work)),
      done_(std::move(done)),
      noted_(work_.plan.quantize ? work_.plan.quantize->modules.size() : 0) {
  if (work_.plan.quantize) {
    for (std::size_t i = 0; i < noted_.size(); ++i) {
      const std::shared_ptr<QuantError>& error = work_.plan.quantize->modules[i].error;
      noted_[i] = !error || error->sum();  // of an earlier run
    }
  }
  thread_ = std::thread([this] { run(); });
}

FarJobs::~FarJobs() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

std::uint64_t FarJobs::needed_by(std::size_t job) const {
  return done_[job] ? 0 : bytes_of(work_.far.jobs[job].needs);
}

void FarJobs::ready_until(const SequencePoint& point) {
  std::unique_lock<std::mutex> lock(mutex_);
  for (; ready_ < work_.far.jobs.size() && work_.far.jobs[ready_].end <= point; ++ready_)
    waiting_ += needed_by(ready_);
  changed_.notify_all();
  changed_.wait(lock, [this] { return waiting_ <= kMaxWaiting || next_ == ready_ || ended_; });
  rethrow();
}

void FarJobs::finish() {
  std::unique_lock<std::mutex> lock(mutex_);
  closed_ = true;
  changed_.notify_all();
  changed_.wait(lock, [this] { return ended_; });
  rethrow();
}

void FarJobs::rethrow() {
  if (fault_) std::rethrow_exception(fault_);
}

void FarJobs::run() {
  FarStep step;
  std::uint64_t batch = 0;  // bytes
  std::unique_lock<std::mutex> lock(mutex_);
  try {
    while (true) {
      if (!step.done.empty() && (batch >= kBatch || next_ == ready_ || stopped_)) {
        lock.unlock();
        settle(step);
        lock.lock();
        for (const std::size_t job : std::exchange(step.done, {}))
          waiting_ -= bytes_of(work_.far.jobs[job].needs);
        step = {};
        batch = 0;
        changed_.notify_all();
        continue;
      }
      if (stopped_ || (closed_ && next_ == ready_)) break;
      if (next_ == ready_) {
        changed_.wait(lock);
        continue;
      }
      const std::size_t job = next_++;
      if (done_[job]) continue;
      lock.unlock();
      make(job, step);
      const FarJob& one = work_.far.jobs[job];
      const std::uint64_t size = work_.plan.weights[one.file].tensors[one.tensor].output.size;
      batch += one.needs.empty() ? size / kLocalPart : size + bytes_of(one.needs);
      lock.lock();
    }
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    fault_ = std::current_exception();
  }
  ended_ = true;
  changed_.notify_all();
}

void FarJobs::make(std::size_t number, FarStep& step) {
  const FarJob& job = work_.far.jobs[number];
  const WeightsOutput& file = work_.plan.weights[job.file];
  WriteResult result;
  work_.writer.write(file, job.tensor, job.tensor + 1, work_.output.offset_of(job.file, job.tensor),
                     work_.output.file(job.file), result);
  work_.output.touch(job.file);
  for (const CastLoss& loss : result.losses) step.losses.push_back({job.file, job.tensor, loss.second});
  if (work_.hashes) step.hashes.emplace_back(number, sum_of_input(file, job.tensor).hash);
  step.done.push_back(number);
}

// What was made goes to the disk, then the mirror may lose what it was made of.
void FarJobs::settle(FarStep& step) {
  work_.output.sync();
  for (std::size_t i = 0; i < noted_.size(); ++i) {
    if (noted_[i]) continue;
    const std::optional<QuantError::Piece> sum = work_.plan.quantize->modules[i].error->sum();
    if (!sum) continue;
    step.errors.emplace_back(i, *sum);
    noted_[i] = true;
  }
  work_.note(step);
  for (const std::size_t job : step.done) {
    for (const FarRange& range : work_.needs.finish(work_.far.jobs[job].needs)) work_.mirror.release(range);
  }
}

}  // namespace mu
