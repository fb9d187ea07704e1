// SPDX-License-Identifier: Apache-2.0
#include "weights/ranks/tiling.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "weights/ranks/rank_file.h"

namespace mu {
namespace {

// True when two boxes have an element in common.
bool meet(const Box& a, const Box& b) {
  for (std::size_t i = 0; i < a.size.size(); ++i) {
    if (a.begin[i] >= b.begin[i] + b.size[i] || b.begin[i] >= a.begin[i] + a.size[i]) return false;
  }
  return true;
}

std::uint64_t volume(const std::vector<std::uint64_t>& sizes) {
  return element_count(sizes).value_or(0);  // within the tensor's own count
}

// The dimension in which boxes begin at the most places: sorted by it, few may meet.
std::size_t most_cut_dimension(const std::vector<const Box*>& boxes, std::size_t dims) {
  std::size_t best = 0, most = 0;
  for (std::size_t dim = 0; dim < dims; ++dim) {
    std::vector<std::uint64_t> begins;
    begins.reserve(boxes.size());
    for (const Box* box : boxes) begins.push_back(box->begin[dim]);
    std::sort(begins.begin(), begins.end());
    const auto places = static_cast<std::size_t>(std::unique(begins.begin(), begins.end()) - begins.begin());
    if (places > most) {
      most = places;
      best = dim;
    }
  }
  return best;
}

}  // namespace

std::string tuple_text(const std::vector<std::uint64_t>& numbers) {
  std::string text = "(";
  for (std::size_t i = 0; i < numbers.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(numbers[i]);
  return text + ")";
}

void check_tiling(std::string_view name, const std::vector<std::uint64_t>& shape,
                  const std::vector<Box>& boxes) {
  constexpr std::uint64_t kMaxComparisons =
      4'000'000;  // of one tensor; enough for some thousand boxes in a grid
  const auto broken = [name](std::string_view why) {
    return rule_error("DC-CHUNK", fmt::format("tensor '{}': {}", escape_name(name), why));
  };
  std::vector<const Box*> order;
  std::uint64_t covered = 0, comparisons = 0;
  for (const Box& box : boxes) {
    const std::uint64_t count = volume(box.size);
    if (count == 0) continue;
    covered += count;
    order.push_back(&box);
  }
  // Boxes are complete if they are disjoint and have as many elements as the tensor. They are sorted along one
  // dimension and compared only while they may meet.
  const std::size_t dim = most_cut_dimension(order, shape.size());
  const auto first = [dim](const Box* box) { return box->begin.empty() ? 0 : box->begin[dim]; };
  std::sort(order.begin(), order.end(), [&](const Box* a, const Box* b) { return first(a) < first(b); });
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (std::size_t j = i + 1; j < order.size(); ++j) {
      if (!order[i]->begin.empty() && first(order[j]) >= first(order[i]) + order[i]->size[dim]) break;
      if (++comparisons > kMaxComparisons) throw broken("it has more pieces than can be checked");
      if (meet(*order[i], *order[j]))
        throw broken(fmt::format("the pieces at {} and {} overlap", tuple_text(order[i]->begin),
                                 tuple_text(order[j]->begin)));
    }
  }
  if (covered != volume(shape))
    throw broken(
        fmt::format("its pieces hold {} of {} values", group_digits(covered), group_digits(volume(shape))))
        .hint("the files of a rank are missing");
}

}  // namespace mu
