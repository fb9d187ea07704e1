// SPDX-License-Identifier: Apache-2.0
// Guesses which name a user meant who mistyped one.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

// The fewest insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b` (optimal
// string alignment). Takes time in proportion to the product of their lengths.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The name nearest to `text`, the first of several: one that differs by a slip or two, or the only one that
// begins with it. Case, and whether words are joined by "-" or "_", make no difference. Returns nothing
// when no name is near.
std::optional<std::string> nearest_name(std::string_view text, const std::vector<std::string>& names);

}  // namespace mu
