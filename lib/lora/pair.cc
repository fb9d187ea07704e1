// SPDX-License-Identifier: Apache-2.0
// Small matrices are spread over the threads, the largest first; a very large one gets all threads, which bounds
// memory.
#include "lora/pair.h"

#include <algorithm>
#include <mutex>

#include "lora/pair_work.h"
#include "os/spool.h"
#include "os/threads.h"

namespace mu {
namespace {

class SpoolStore : public FactorStore {
 public:
  std::uint64_t add(std::uint64_t size, const Read& read) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::uint64_t offset = spool_.size();
    std::vector<std::byte> piece;
    for (std::uint64_t at = 0; at < size; at += piece.size()) {
      piece.resize(static_cast<std::size_t>(std::min(kPiece, size - at)));
      read(at, piece);
      spool_.append(piece);
    }
    return offset;
  }
  void read_at(std::uint64_t at, std::span<std::byte> out) const override { spool_.read_at(at, out); }

 private:
  static constexpr std::uint64_t kPiece = 1U << 20;  // bytes
  std::mutex mutex_;
  Spool spool_;
};

}  // namespace

unsigned threads_of_matrix(const PairPlan& plan, const std::vector<std::size_t>& units, unsigned threads) {
  const auto matrices = static_cast<std::size_t>(std::count_if(
      units.begin(), units.end(), [&](std::size_t unit) { return is_matrix(plan.tensors[unit]); }));
  return static_cast<unsigned>(std::max<std::size_t>(1, threads / std::max<std::size_t>(1, matrices)));
}

std::vector<FoundTensor> factorise(const Input& base, const Input& tuned, const PairPlan& plan,
                                   const std::vector<std::size_t>& units, const PairRunOptions& options) {
  PairWork work(base, tuned, plan, options, std::make_shared<SpoolStore>(), false);
  std::vector<FoundTensor> found(plan.tensors.size());
  std::vector<std::size_t> small, large;
  for (const std::size_t i : units) (PairWork::is_alone(plan.tensors[i]) ? large : small).push_back(i);
  // The largest come first, so that no thread is left with one at the end.
  std::stable_sort(small.begin(), small.end(), [&](std::size_t a, std::size_t b) {
    return plan.tensors[a].count > plan.tensors[b].count;
  });
  const auto find = [&](std::size_t i, unsigned threads) {
    found[i] = work.find(i, threads);
    if (options.on_bytes) options.on_bytes(size_of(plan.tensors[i], plan.tensors[i].tuned));
  };
  const unsigned inner = threads_of_matrix(plan, units, options.threads);
  for (const std::size_t i : large) find(i, options.threads);
  parallel_for(small.size(), options.threads, [&](std::size_t k) { find(small[k], inner); });
  return found;
}

}  // namespace mu
