// SPDX-License-Identifier: Apache-2.0
// Names cut to the width of a column, of which no two that differ look alike.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace mu {

// Each name at most `columns` wide, cut in the middle as shorten_middle() cuts where that keeps the names apart. Where
// it doesn't, what the names of a group have in common is cut first; where that leaves no room they are numbered.
std::vector<std::string> shorten_apart(const std::vector<std::string>& names, std::size_t columns);

}  // namespace mu
