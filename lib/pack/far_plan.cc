// SPDX-License-Identifier: Apache-2.0
// The bytes of a tensor are the leaves of a tree: runs in files, reached through views (boxes) and through the
// tensors that others are computed from. A tensor that is runs of far files alone is copied run by run; any other
// with a far leaf is a job that needs all its leaves.
//
// Files come in the order in which the output asks for them, but one that only adds to what others hold (an adapter,
// scales in a file of their own) comes first: the rest would have to wait for it in the mirror.
#include "pack/far_plan.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "weights/layout.h"
#include "weights/leaves.h"

namespace mu {
namespace {

const FarFile* far_of(const WeightsFile& file) {
  return file.file ? file.file->far() : nullptr;
}

// The runs that are copied or cast one by one; nothing if the tensor must be made as a whole.
std::vector<ByteRange> runs_of(const PackedTensor& tensor) {
  std::vector<ByteRange> runs = byte_ranges(*tensor.input);
  if (tensor.input->dtype == tensor.output.dtype) return runs;
  const std::uint64_t width = bits(tensor.input->dtype);
  const bool whole = width % 8 == 0 && bits(tensor.output.dtype) % 8 == 0 &&
                     std::all_of(runs.begin(), runs.end(),
                                 [&](const ByteRange& run) { return run.size % (width / 8) == 0; });
  return whole ? runs : std::vector<ByteRange>();
}

class FarPlanner {
 public:
  explicit FarPlanner(const PackPlan& plan) : plan_(plan) {}

  FarPlan finish() {
    for (std::size_t f = 0; f < plan_.weights.size(); ++f)
      for (std::size_t t = 0; t < plan_.weights[f].tensors.size(); ++t) add(f, t);
    if (plan_.kind == OutputKind::kStream) {
      result_.sequence = joined_in_order(wanted_);
      result_.copies.clear();
      result_.jobs.clear();
    } else {
      sort_files();
      result_.sequence = with_whole_files(in_file_order(wanted_));
      place();
    }
    result_.bytes = bytes_of(result_.sequence);
    std::set<const FarFile*> files;
    for (const FarRange& range : result_.sequence) files.insert(range.file);
    result_.files = files.size();
    for (const WeightsOutput& output : plan_.weights) {
      if (!sets_.insert(output.from).second) continue;
      for (const WeightsFile& file : output.from->files) files.insert(far_of(file));
    }
    files.erase(nullptr);
    for (const FarFile* file : files) result_.of += file->size;
    return std::move(result_);
  }

 private:
  void add(std::size_t f, std::size_t t) {
    const WeightsOutput& file = plan_.weights[f];
    const PackedTensor& tensor = file.tensors[t];
    if (tensor.output.size == 0) return;
    const std::vector<ByteRange> runs = runs_of(tensor);
    const bool copied = !runs.empty() && std::all_of(runs.begin(), runs.end(), [&](const ByteRange& run) {
      return far_of(file.from->files[run.source]) != nullptr;
    });
    if (!copied) return add_job(f, t);
    std::uint64_t at = 0;
    for (const ByteRange& run : runs) {
      if (run.size == 0) continue;
      const FarRange from{far_of(file.from->files[run.source]), run.offset, run.size};
      wanted_.push_back(from);
      note_main(from.file);
      result_.copies.push_back({0, from, f, t, at});
      at += run.size;
    }
  }

  void add_job(std::size_t f, std::size_t t) {
    FarJob job{f, t};
    std::vector<std::pair<const FarFile*, std::uint64_t>> bytes;  // in the order of the needs
    const WeightsOutput& file = plan_.weights[f];
    for_leaves(*file.from, *file.tensors[t].input,
               [&](const WeightsFile& from, std::uint64_t offset, std::uint64_t size) {
                 if (far_of(from) == nullptr || size == 0) return;
                 job.needs.push_back({far_of(from), offset, size});
                 auto place = std::find_if(bytes.begin(), bytes.end(),
                                           [&](const auto& one) { return one.first == far_of(from); });
                 if (place == bytes.end()) place = bytes.insert(bytes.end(), {far_of(from), 0});
                 place->second += size;
               });
    // What is small may be needed again and again while the large is read: it comes first in a stream.
    std::vector<FarRange> small_first = job.needs;
    std::stable_sort(small_first.begin(), small_first.end(),
                     [](const FarRange& a, const FarRange& b) { return a.size < b.size; });
    wanted_.insert(wanted_.end(), small_first.begin(), small_first.end());
    job.needs = without_overlaps(std::move(job.needs));
    const auto most = std::max_element(bytes.begin(), bytes.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    if (most != bytes.end()) note_main(most->first);
    result_.jobs.push_back(std::move(job));
  }

  void note_main(const FarFile* file) { main_.insert(file); }

  // Files that are the largest source of no tensor go before the others.
  void sort_files() {
    std::stable_partition(wanted_.begin(), wanted_.end(),
                          [&](const FarRange& range) { return !main_.contains(range.file); });
  }

  // Where in the sequence everything lies.
  void place() {
    const SequencePlaces places(result_.sequence);
    for (FarCopy& copy : result_.copies) copy.range = places.end_of({copy.from}).range;
    std::sort(result_.copies.begin(), result_.copies.end(), [](const FarCopy& a, const FarCopy& b) {
      return std::tie(a.range, a.from.offset, a.file, a.tensor, a.at) <
             std::tie(b.range, b.from.offset, b.file, b.tensor, b.at);
    });
    for (FarJob& job : result_.jobs) job.end = places.end_of(job.needs);
    std::stable_sort(result_.jobs.begin(), result_.jobs.end(),
                     [](const FarJob& a, const FarJob& b) { return a.end < b.end; });
  }

  const PackPlan& plan_;
  FarPlan result_;
  std::vector<FarRange> wanted_;  // in the order of the output
  std::set<const Weights*> sets_;
  std::set<const FarFile*> main_;  // the largest source of some tensor
};

}  // namespace

FarPlan plan_far(const PackPlan& plan) {
  return FarPlanner(plan).finish();
}

bool is_far(const PackPlan& plan) {
  bool far = false;
  if (!has_far()) return far;
  for (const WeightsOutput& file : plan.weights) {
    for (const PackedTensor& tensor : file.tensors) {
      for_leaves(*file.from, *tensor.input, [&far](const WeightsFile& from, std::uint64_t, std::uint64_t) {
        far = far || far_of(from) != nullptr;
      });
      if (far) return true;
    }
  }
  return false;
}

}  // namespace mu
