// SPDX-License-Identifier: Apache-2.0
// The views of st-inspect that need only headers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/glob.h"
#include "inspect/facts.h"

namespace mu {

enum class SortKey : std::uint8_t { kName, kSize, kOffset, kDtype };
// Reads "name", "size", "offset" or "dtype".
std::optional<SortKey> sort_key_of(std::string_view word);

// The tensors whose names match one of the globs (all if there are none), sorted: bytewise by name, by size
// with the largest first, by file and offset, or by dtype and then name.
std::vector<const Tensor*> choose_tensors(const Weights& weights, const std::vector<Glob>& filters,
                                          SortKey key);

// A screen for the user. Nothing is cut unless `width` (columns of the terminal) is given.
std::string overview_text(const Input& input, const InputFacts& facts, const Findings& findings,
                          const std::vector<const Tensor*>& tensors, std::size_t width);

// One line for each tensor, with tabs between: name, dtype, shape ("2,3"), elements, bytes, file, offset in
// the file. In the file of one rank also what it has of the tensor: dtype, shape, bytes and placement.
void print_tensors(const Input& input, const std::vector<const Tensor*>& tensors);

// Names: escaped, one a line, or exact and each ended by NUL.
void print_names(const std::vector<const Tensor*>& tensors, bool null);

// A tree by dotted names with sums, down to `depth` levels (0: all); numbered siblings of the same form are
// folded.
std::string tree_text(const std::vector<const Tensor*>& tensors, std::size_t depth, std::size_t width);

// Keys and values, one a line, long values shortened.
std::string metadata_text(const Metadata& metadata);

}  // namespace mu
