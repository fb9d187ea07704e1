// SPDX-License-Identifier: Apache-2.0
// Under which names the tensors of two inputs are compared. A model has other names in memory than in its files, files
// of older libraries have others again, and wrappers of a training add to names; experts that lie in one stack in memory
// are one tensor each in files. Where fewer tensors of the two are left without a counterpart that way, both are seen as
// published files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/rename.h"
#include "model/input.h"

namespace mu {

// Under the name that is compared.
struct ComparedTensor : Tensor {
  std::vector<std::string> made_of;  // names in the files
  [[nodiscard]] bool is_seen_through() const { return made_of.size() != 1 || made_of.front() != name; }
};

struct ComparedSide {
  std::vector<ComparedTensor> tensors;
  std::uint64_t wrapped = 0;  // names that wrappers added to (model/wrappers.h)
  std::uint64_t renamed = 0;  // tensors with memory's names, seen under published ones
  std::uint64_t older = 0;    // names of older libraries, seen under today's
  [[nodiscard]] std::uint64_t seen_through() const { return wrapped + renamed + older; }
};

struct ComparedNames {
  ComparedSide a, b;
  [[nodiscard]] bool is_seen_through() const { return a.seen_through() + b.seen_through() > 0; }
};

// `map` renames the tensors of A first. Each side's names are told apart by its own config, by that of the other if
// it has none; names of quantised weights and of adapters stay. Reads no tensors. Throws kMalformed for experts whose
// sizes don't divide.
ComparedNames compared_names(const Input& a, const Input& b, const std::vector<Rename>& map, bool as_is);

// What was seen through, a sentence; empty for nothing.
std::string seen_through_text(const ComparedNames& names);

}  // namespace mu
