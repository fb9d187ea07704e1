// SPDX-License-Identifier: Apache-2.0
// A stretch of a tensor is followed down: a box of its layout is cut to what the stretch needs, and becomes runs of
// its source, which is a file or another tensor, of which each run is a stretch in turn. Of a computed tensor, all of
// what it is made of is needed for any part.
#include "weights/leaves.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "weights/gather.h"

namespace mu {
namespace {

constexpr std::uint64_t kMostRuns = 1U << 16;  // of one box; hostile strides could ask for any number

// One dimension of a box as its source has it, stride in bytes.
struct Step {
  std::uint64_t count, stride;
};

class Leaves {
 public:
  explicit Leaves(const Leaf& leaf) : leaf_(leaf) {}

  // Bytes [at, at + size) of a tensor.
  void add(const Weights& weights, const Tensor& tensor, std::uint64_t at, std::uint64_t size) {
    if (size == 0) return;
    const Layout* const layout = tensor.layout.get();
    if (layout != nullptr && layout->compute) {
      for (const Tensor& one : layout->tensors) add(weights, one, 0, one.size);
      for (const auto& [set, one] : layout->others) add(*set, one, 0, one.size);
    } else if (layout == nullptr || layout->boxes.empty()) {
      leaf_(weights.files[tensor.source], tensor.offset + at, size);
    } else if (layout->inflated) {
      add_inflated(weights.files[tensor.source], tensor);
    } else {
      const std::uint64_t element = std::max<std::size_t>(1, box_element_bytes(tensor));
      for (Box box : layout->boxes) {
        if (!cut(box, layout->shape, at / element, (at + size - 1) / element + 1, element)) continue;
        for_runs(box, element, [&](std::uint64_t offset, std::uint64_t run) {
          if (layout->tensors.empty())
            leaf_(weights.files[box.source], offset, run);
          else
            add(weights, layout->tensors[box.source], offset, run);
        });
      }
    }
  }

 private:
  // Where it lies in the file is not known here.
  void add_inflated(const WeightsFile& file, const Tensor& tensor) {
    if (file.file && file.file->far() != nullptr)
      throw malformed(
          fmt::format("'{}' is compressed, so it can't be read by ranges", escape_name(tensor.name)))
          .in_file(escape_name(file.name))
          .hint("download the file first (hf download)");
    leaf_(file, 0, 0);
  }

  // Cuts the box to what meets elements [first, last) of the tensor, as far as whole rows go; false if nothing does.
  static bool cut(Box& box, const std::vector<std::uint64_t>& shape, std::uint64_t first, std::uint64_t last,
                  std::uint64_t element) {
    if (std::find(box.size.begin(), box.size.end(), 0U) != box.size.end()) return false;
    const std::vector<std::uint64_t> strides = row_major_strides(shape);
    for (std::size_t i = 0; i < strides.size(); ++i) {
      const std::uint64_t from = std::max(box.begin[i], first / strides[i]);
      const std::uint64_t to = std::min(box.begin[i] + box.size[i], (last - 1) / strides[i] + 1);
      if (from >= to) return false;
      box.offset += (from - box.begin[i]) * box.strides[i] * element;
      box.begin[i] = from;
      box.size[i] = to - from;
      if (to - from > 1) break;  // what lies in between is whole
      const std::uint64_t start = from * strides[i];
      first = first > start ? first - start : 0;
      last = std::min(last - start, strides[i]);
    }
    return true;
  }

  // Calls run(offset, size) for the stretches of the source that hold the box.
  template <typename Run>
  static void for_runs(const Box& box, std::uint64_t element, Run run) {
    std::vector<Step> steps;
    for (std::size_t i = 0; i < box.size.size(); ++i) {
      if (box.size[i] > 1 && box.strides[i] > 0) steps.push_back({box.size[i], box.strides[i] * element});
    }
    std::sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) { return a.stride > b.stride; });
    // From the innermost outwards, what lies close together becomes one run; so does at least all that gather() reads
    // at once.
    std::uint64_t size = element, runs = 1;
    std::size_t outer = steps.size();
    for (; outer > 0 && is_close(steps[outer - 1].stride, size); --outer)
      size += (steps[outer - 1].count - 1) * steps[outer - 1].stride;
    for (std::size_t i = 0; i < outer && runs <= kMostRuns; ++i) runs *= steps[i].count;
    for (; runs > kMostRuns && outer > 0; --outer)
      size += (steps[outer - 1].count - 1) * steps[outer - 1].stride;
    for_each_run(std::span(steps).first(outer), box.offset, size, run);
  }

  static bool is_close(std::uint64_t stride, std::uint64_t size) {
    const std::uint64_t gap = stride - std::min(stride, size);
    return gap <= kFarGap || (stride <= kGatherWindow && gap / kGatherUsefulPart <= size);
  }

  template <typename Run>
  static void for_each_run(std::span<const Step> steps, std::uint64_t offset, std::uint64_t size, Run& run) {
    if (steps.empty()) return run(offset, size);
    for (std::uint64_t i = 0; i < steps.front().count; ++i)
      for_each_run(steps.subspan(1), offset + i * steps.front().stride, size, run);
  }

  const Leaf& leaf_;
};

}  // namespace

void for_leaves(const Weights& weights, const Tensor& tensor, const Leaf& leaf) {
  Leaves(leaf).add(weights, tensor, 0, tensor.size);
}

void add_far_leaves(const Weights& weights, const Tensor& tensor, std::vector<FarRange>& ranges) {
  for_leaves(weights, tensor, [&](const WeightsFile& file, std::uint64_t offset, std::uint64_t size) {
    const FarFile* const far = file.file ? file.file->far() : nullptr;
    if (far != nullptr) ranges.push_back({far, offset, size});
  });
}

std::vector<FarRange> without_overlaps(std::vector<FarRange> ranges) {
  std::map<const FarFile*, std::size_t> order;
  for (const FarRange& range : ranges) order.emplace(range.file, order.size());
  std::sort(ranges.begin(), ranges.end(), [&](const FarRange& a, const FarRange& b) {
    return std::pair(order[a.file], a.offset) < std::pair(order[b.file], b.offset);
  });
  std::vector<FarRange> joined;
  for (const FarRange& range : ranges) {
    FarRange* const before = joined.empty() ? nullptr : &joined.back();
    if (before == nullptr || before->file != range.file || before->offset + before->size < range.offset)
      joined.push_back(range);
    else
      before->size = std::max(before->size, range.offset + range.size - before->offset);
  }
  return joined;
}

}  // namespace mu
