// SPDX-License-Identifier: Apache-2.0
#include "base/nearest.h"

#include <algorithm>

#include "base/text.h"

namespace mu {
namespace {

constexpr std::size_t kLongest = 64;       // characters; longer text is not a slip of the fingers
constexpr std::size_t kShortestStart = 3;  // characters; fewer don't identify the name they begin

std::string plain(std::string_view name) {
  std::string text = lower_ascii(name);
  std::replace(text.begin(), text.end(), '_', '-');
  return text;
}

// One slip in short names, because two turn almost any short name into another; two in long ones.
std::size_t allowed_slips(std::string_view text) {
  return text.size() < 3 ? 0 : text.size() < 6 ? 1 : 2;
}

std::optional<std::string> only_completion(const std::string& start, const std::vector<std::string>& names) {
  std::optional<std::string> only;
  for (const std::string& name : names) {
    if (!plain(name).starts_with(start)) continue;
    if (only) return std::nullopt;
    only = name;
  }
  return only;
}

}  // namespace

std::size_t edit_distance(std::string_view a, std::string_view b) {
  // Three rows of the matrix: row i holds the distances of a's first i characters to each beginning of b.
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t k = 0; k <= b.size(); ++k) row[k] = k;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    before.swap(last);
    last.swap(row);
    row[0] = i;
    for (std::size_t k = 1; k <= b.size(); ++k) {
      row[k] = std::min({last[k] + 1, row[k - 1] + 1, last[k - 1] + (a[i - 1] == b[k - 1] ? 0 : 1)});
      const bool swapped = i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1];
      if (swapped) row[k] = std::min(row[k], before[k - 2] + 1);
    }
  }
  return row[b.size()];
}

std::optional<std::string> nearest_name(std::string_view text, const std::vector<std::string>& names) {
  if (text.size() > kLongest) return std::nullopt;
  const std::string meant = plain(text);
  std::optional<std::string> nearest;
  std::size_t least = allowed_slips(meant) + 1;
  for (const std::string& name : names) {
    const std::size_t distance = edit_distance(meant, plain(name));
    if (distance >= least) continue;
    least = distance;
    nearest = name;
  }
  if (nearest || meant.size() < kShortestStart) return nearest;
  return only_completion(meant, names);
}

}  // namespace mu
