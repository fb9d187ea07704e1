// SPDX-License-Identifier: Apache-2.0
// A tensor is cut into stretches of fixed length, which are the jobs of the worker threads. Finished
// stretches wait for those before them and are merged in order. So the sums do not depend on the number of
// threads, and only a few stretches for each thread are ever kept.
#include "inspect/measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <numeric>

#include "base/text.h"
#include "os/threads.h"
#include "tensor/decode.h"
#include "weights/digest.h"
#include "weights/layout.h"

namespace mu {
namespace {

constexpr std::uint64_t kStretch =
    16 * kStatsPiece;  // bytes: enough work for a job, and a large tensor still has many jobs

struct Stretch {
  std::size_t tensor;  // of the list
  std::uint64_t at, size;
  bool last;
};

std::uint64_t stretch_count(const Tensor& tensor) {
  return std::max<std::uint64_t>(1, (tensor.size + kStretch - 1) / kStretch);
}

TensorStats stretch_stats(const Weights& weights, const Tensor& tensor, const Stretch& stretch,
                          Progress& progress) {
  TensorStats total;
  if (!can_decode(tensor.dtype)) return total;
  thread_local std::vector<std::byte> buffer(kStatsPiece);
  for (std::uint64_t done = 0; done < stretch.size; done += kStatsPiece) {
    const std::span<std::byte> piece = std::span(buffer).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(kStatsPiece, stretch.size - done)));
    weights.read(tensor, stretch.at + done, piece);
    merge_stats(total, piece_stats(tensor.dtype, piece));
    progress.add(piece.size());
  }
  return total;
}

// Accepts results in any order and merges them in the order of the jobs.
class InOrder {
 public:
  InOrder(const std::vector<const Tensor*>& tensors, const OnStats& on_stats)
      : tensors_(tensors), on_stats_(on_stats) {}

  void put(std::size_t index, const Stretch& stretch, const TensorStats& stats) {
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting_.emplace(index, std::pair(stretch, stats));
    while (!waiting_.empty() && waiting_.begin()->first == next_) {
      const auto& [done, part] = waiting_.begin()->second;
      merge_stats(tensor_, part);
      if (done.last) {
        merge_stats(total_, tensor_);
        on_stats_(*tensors_[done.tensor], tensor_);
        tensor_ = {};
      }
      waiting_.erase(waiting_.begin());
      ++next_;
    }
  }

  [[nodiscard]] const TensorStats& total() const { return total_; }

 private:
  const std::vector<const Tensor*>& tensors_;
  const OnStats& on_stats_;
  std::mutex mutex_;
  std::map<std::size_t, std::pair<Stretch, TensorStats>> waiting_;
  std::size_t next_ = 0;
  TensorStats tensor_, total_;
};

}  // namespace

TensorStats measure_stats(const Weights& weights, const std::vector<const Tensor*>& tensors, unsigned threads,
                          Progress& progress, const OnStats& on_stats) {
  // first_job[i] is the number of stretches before tensor i: a job finds its tensor by searching, so no list
  // of jobs is kept.
  std::vector<std::uint64_t> first_job(tensors.size() + 1, 0);
  for (std::size_t i = 0; i < tensors.size(); ++i)
    first_job[i + 1] = first_job[i] + stretch_count(*tensors[i]);
  InOrder results(tensors, on_stats);
  parallel_for(static_cast<std::size_t>(first_job.back()), threads, [&](std::size_t job) {
    const auto after = std::upper_bound(first_job.begin(), first_job.end(), job);
    const auto tensor = static_cast<std::size_t>(after - first_job.begin()) - 1;
    const std::uint64_t at = (job - first_job[tensor]) * kStretch;
    const Stretch stretch{tensor, at, std::min(kStretch, tensors[tensor]->size - at),
                          job + 1 == first_job[tensor + 1]};
    results.put(job, stretch, stretch_stats(weights, *tensors[tensor], stretch, progress));
  });
  return results.total();
}

Hashes measure_hashes(const Weights& weights, const std::vector<const Tensor*>& tensors, unsigned threads,
                      Progress& progress) {
  // Whole files come first: each is one long job.
  std::vector<std::size_t> units(weights.files.size() + tensors.size());
  std::iota(units.begin(), units.end(), 0);
  return hashes_of_units(weights, tensors, measure_hash_units(weights, tensors, units, threads, progress));
}

std::vector<std::string> measure_hash_units(const Weights& weights, const std::vector<const Tensor*>& tensors,
                                            const std::vector<std::size_t>& units, unsigned threads,
                                            Progress& progress) {
  std::vector<std::string> hashes(units.size());
  parallel_for(units.size(), threads, [&](std::size_t job) {
    const std::size_t unit = units[job];
    if (unit < weights.files.size()) {
      hashes[job] =
          file_hash(*weights.files[unit].file, [&progress](std::uint64_t bytes) { progress.add(bytes); });
      return;
    }
    const Tensor& tensor = *tensors[unit - weights.files.size()];
    hashes[job] = tensor_hash(type_name(tensor), tensor.shape, tensor.size,
                              [&](std::uint64_t at, std::span<std::byte> out) {
                                weights.read(tensor, at, out);
                                progress.add(out.size());
                              });
  });
  return hashes;
}

Hashes hashes_of_units(const Weights& weights, const std::vector<const Tensor*>& tensors,
                       const std::vector<std::string>& units) {
  const auto first_tensor = units.begin() + static_cast<std::ptrdiff_t>(weights.files.size());
  Hashes hashes{{units.begin(), first_tensor}, {first_tensor, units.end()}, ""};
  std::vector<std::pair<std::string, std::string>> named;
  named.reserve(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) named.emplace_back(tensors[i]->name, hashes.tensors[i]);
  hashes.content = "st-content-1:" + content_digest(std::move(named));
  return hashes;
}

std::vector<std::string> stats_columns(const TensorStats& stats, int digits) {
  const auto number = [digits](double value) { return fmt::format("{:.{}g}", value, digits); };
  const bool any = stats.finite > 0;
  const auto or_dash = [&](double value) { return any ? number(value) : std::string("-"); };
  return {std::to_string(stats.count),
          or_dash(stats.min),
          or_dash(stats.max),
          or_dash(stats.mean),
          stats.finite > 1 ? number(stats.std()) : "-",
          or_dash(stats.absmax()),
          std::to_string(stats.zero),
          std::to_string(stats.nan),
          std::to_string(stats.positive_infinity + stats.negative_infinity)};
}

std::string stats_remarks(Dtype dtype, const TensorStats& stats) {
  std::vector<std::string> remarks;
  if (!can_decode(dtype)) remarks.emplace_back("not read");
  if (stats.all_zero()) {
    remarks.emplace_back("all zero");
  } else if (stats.constant() && stats.count > 1) {
    remarks.emplace_back("constant");
  }
  if (dtype == Dtype::kF32 && stats.fits_bf16 && stats.count > 0 && !stats.constant())
    remarks.emplace_back("fits bf16");
  if (stats.not_boolean > 0) remarks.push_back(plural(stats.not_boolean, "byte") + " neither 0 nor 1");
  return join(remarks, ", ");
}

}  // namespace mu
