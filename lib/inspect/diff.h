// SPDX-License-Identifier: Apache-2.0
// --diff A B: which tensors two inputs share, and how far apart those are.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/rename.h"
#include "cli/progress.h"
#include "model/input.h"
#include "tensor/compare.h"

namespace mu {

struct DiffOptions {
  std::vector<Rename> map;  // renames the tensors of A
  Tolerance tolerance;      // values within it count as equal
  bool ignore_dtype = false;
  // Files of A and of B that are known to be the same, so that nothing of them has to be read.
  std::set<std::pair<std::size_t, std::size_t>> same_files{};
};

enum class DiffKind : std::uint8_t { kOnlyInA, kOnlyInB, kShape, kDtype, kValues, kEqual };

struct TensorDiff {
  DiffKind kind;
  std::string name;         // as in A after renaming, or as in B
  const Tensor* a;          // null when only in B
  const Tensor* b;          // null when only in A
  std::string tied_to;      // the name it was found under on the other side, when embeddings are tied
  Comparison comparison{};  // of kValues and of equal values in another dtype
};

struct Diff {
  std::vector<TensorDiff> tensors;  // sorted by name
  [[nodiscard]] std::uint64_t count(DiffKind kind) const;
  [[nodiscard]] bool same() const;
};

// Reads both inputs. Throws kMalformed where a renaming makes two names one.
Diff diff_inputs(const Input& a, const Input& b, const DiffOptions& options, unsigned threads,
                 Progress& progress);

// A line a tensor that differs, broken at `width` columns (0: none), and a summary.
std::string diff_text(const Diff& diff, std::size_t width);
std::string diff_json(const Input& a, const Input& b, const Diff& diff);

}  // namespace mu
