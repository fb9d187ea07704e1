// SPDX-License-Identifier: Apache-2.0
// The views of st-inspect that need headers only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/glob.h"
#include "inspect/facts.h"

namespace mu {

enum class SortKey : std::uint8_t { kName, kSize, kOffset, kDtype };

// The tensors whose names match one of the globs (all when there are none), sorted: by name bytewise, by size
// the largest first, by file and offset, by dtype and then name.
std::vector<const Tensor*> choose_tensors(const Weights& weights, const std::vector<Glob>& filters,
                                          SortKey key);

// A screen for a person. Nothing is cut unless `width` (columns of the terminal) is given.
std::string overview_text(const Input& input, const InputFacts& facts, const Findings& findings,
                          const std::vector<const Tensor*>& tensors, std::size_t width);

// Name, dtype, shape ("2,3"), elements, bytes, file, offset in the file; tabs between, a line a tensor.
void print_tensors(const Weights& weights, const std::vector<const Tensor*>& tensors);

// Names, one a line and escaped, or exact and ended by NUL.
void print_names(const std::vector<const Tensor*>& tensors, bool null);

// By dotted name, numbered siblings of one form folded, with sums, down to `depth` levels (0: all).
std::string tree_text(const std::vector<const Tensor*>& tensors, std::size_t depth, std::size_t width);

// Keys and values; a value that is JSON itself is shown on indented lines, a long one shortened.
std::string metadata_text(const Metadata& metadata);

}  // namespace mu
