// SPDX-License-Identifier: Apache-2.0
#include "weights/ranks/copies.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "base/text.h"
#include "os/folder.h"
#include "os/threads.h"
#include "weights/contents.h"
#include "weights/ranks/rank_file.h"

namespace mu {
namespace {

// A piece as a tensor of its own.
Tensor piece_of(const Tensor& whole, const Box& box) {
  Tensor piece = whole;
  Layout layout;
  if (whole.layout) {
    layout.type = whole.layout->type;
    layout.element_bytes = whole.layout->element_bytes;
  }
  layout.shape = box.size;
  layout.boxes.push_back(box);
  layout.boxes.front().begin.assign(box.size.size(), 0);
  const std::uint64_t elements =
      whole.layout ? element_count(whole.layout->shape).value_or(0) : whole.element_count();
  piece.size = elements == 0 ? 0 : whole.size / elements * element_count(box.size).value_or(0);
  piece.layout = std::make_shared<Layout>(std::move(layout));
  return piece;
}

// The box of the tensor that begins where the copy does.
Box kept_box(const Tensor& tensor, const Box& copy) {
  if (!tensor.layout || tensor.layout->boxes.empty())
    return {tensor.source, tensor.offset, copy.begin, copy.size, row_major_strides(copy.size)};
  const std::vector<Box>& boxes = tensor.layout->boxes;  // sorted
  return *std::lower_bound(boxes.begin(), boxes.end(), copy,
                           [](const Box& a, const Box& b) { return a.begin < b.begin; });
}

}  // namespace

void require_equal_copies(const Weights& weights, unsigned threads) {
  if (!weights.from_ranks) return;
  const std::vector<RankCopies>& copies = weights.from_ranks->copies;
  // Names may have changed and tensors may be gone; their places are the same.
  std::set<std::pair<std::uint32_t, std::uint64_t>> places;
  for (const Tensor& tensor : weights.tensors) places.emplace(tensor.source, tensor.offset);
  parallel_for(copies.size(), threads, [&](std::size_t i) {
    const Tensor& tensor = copies[i].tensor;
    if (!places.contains({tensor.source, tensor.offset})) return;
    for (const Box& copy : copies[i].boxes) {
      if (equal_bytes(weights, piece_of(tensor, kept_box(tensor, copy)), weights, piece_of(tensor, copy)))
        continue;
      Error error =
          rule_error("FS-MIX",
                     fmt::format("its copy of '{}' is not that of {}: files of two steps or runs "
                                 "are mixed",
                                 escape_name(tensor.name),
                                 escape_name(base_name(weights.files[kept_box(tensor, copy).source].name))))
              .in_file(escape_name(weights.files[copy.source].name));
      if (tensor.name.find("expert") != std::string::npos)
        error.hint(
            "with expert parallelism each rank has other experts under the same names: save the whole "
            "model in the training program");
      throw error;
    }
  });
}

}  // namespace mu
