// SPDX-License-Identifier: Apache-2.0
// Shortens names to the width of a column so that names that differ still look different.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace mu {

// Each name in at most `columns` columns. Names are cut in the middle, as shorten_middle() does, if that
// keeps them apart. If it doesn't, the text that similar names have in common is cut first; if that leaves no
// room, they are numbered.
std::vector<std::string> shorten_apart(const std::vector<std::string>& names, std::size_t columns);

}  // namespace mu
