// SPDX-License-Identifier: Apache-2.0
// Where both models lie elsewhere, pairs are read in batches: the base's bytes of some, then the tuned model's, so that
// neighbours are one request.
#include "lora/pair_fetch.h"

#include <algorithm>
#include <map>
#include <utility>

#include "lora/pair_work.h"
#include "model/fingerprint.h"
#include "weights/leaves.h"

namespace mu {
namespace {

constexpr std::uint64_t kBatch = 16U << 20;  // bytes

class FetchPlanner {
 public:
  FetchPlanner(const Input& base, const Input& tuned, const PairPlan& plan)
      : base_(base.weights), tuned_(tuned.weights), plan_(plan) {
    for (const Weights* const side : {&base_, &tuned_}) {
      for (const WeightsFile& file : side->files)
        if (file.file && file.file->far() != nullptr) order_.emplace(file.file->far(), order_.size());
    }
  }

  PairFetch finish(const std::vector<std::size_t>& units) {
    for (const std::size_t unit : units) result_.jobs.push_back({unit, needs_of(plan_.tensors[unit])});
    std::stable_sort(
        result_.jobs.begin(), result_.jobs.end(),
        [this](const PairFetch::Job& a, const PairFetch::Job& b) { return place_of(a) < place_of(b); });
    result_.sequence = with_whole_files(joined_in_order(wanted()));
    const SequencePlaces places(result_.sequence);
    for (PairFetch::Job& job : result_.jobs) job.end = places.end_of(job.needs);
    std::stable_sort(result_.jobs.begin(), result_.jobs.end(),
                     [](const PairFetch::Job& a, const PairFetch::Job& b) { return a.end < b.end; });
    result_.bytes = bytes_of(result_.sequence);
    result_.files = files_of(result_.sequence).size();
    return std::move(result_);
  }

 private:
  std::vector<FarRange> needs_of(const PairTensor& pair) const {
    std::vector<FarRange> needs;
    const bool compared = PairWork::is_compared(pair);
    if (compared) add_far_leaves(base_, pair.base_values, needs);
    if (compared || PairWork::may_keep(pair)) add_far_leaves(tuned_, pair.tuned_values, needs);
    return without_overlaps(std::move(needs));
  }

  std::pair<std::size_t, std::uint64_t> place_of(const PairFetch::Job& job) const {
    if (job.needs.empty()) return {0, 0};
    return {order_.at(job.needs.front().file), job.needs.front().offset};
  }

  std::vector<FarRange> wanted() const {
    std::vector<FarRange> list, batch;
    std::uint64_t bytes = 0;
    const auto end_batch = [&] {
      const std::vector<FarRange> sorted = without_overlaps(std::exchange(batch, {}));
      list.insert(list.end(), sorted.begin(), sorted.end());
      bytes = 0;
    };
    for (const PairFetch::Job& job : result_.jobs) {
      const std::uint64_t more = bytes_of(job.needs);
      if (bytes + more > kBatch) end_batch();
      batch.insert(batch.end(), job.needs.begin(), job.needs.end());
      bytes += more;
    }
    end_batch();
    return list;
  }

  const Weights& base_;
  const Weights& tuned_;
  const PairPlan& plan_;
  std::map<const FarFile*, std::size_t> order_;
  PairFetch result_;
};

}  // namespace

PairFetch plan_pair_fetch(const Input& base, const Input& tuned, const PairPlan& plan,
                          const std::vector<std::size_t>& units) {
  return FetchPlanner(base, tuned, plan).finish(units);
}

std::string pair_fetch_identity(const PairFetch& fetch, const std::string& plan_fingerprint) {
  Fingerprint fingerprint("lora-extract far 1");
  fingerprint.add(MU_VERSION);
  fingerprint.add(plan_fingerprint);
  fingerprint.add(fetch.sequence);
  return fingerprint.finish();
}

}  // namespace mu
