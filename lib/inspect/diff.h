// SPDX-License-Identifier: Apache-2.0
// --diff A B: which tensors two inputs have in common, and how far their values differ.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/rename.h"
#include "cli/progress.h"
#include "inspect/compared_names.h"
#include "inspect/compared_plain.h"
#include "model/input.h"
#include "tensor/compare.h"

namespace mu {

struct DiffOptions {
  std::vector<Rename> map;   // renames the tensors of A
  bool names_as_is = false;  // else compared_names.h
  Tolerance tolerance;       // values within it count as equal
  bool ignore_dtype = false;
  // Pairs of files of A and B that are known to be the same, so their tensors need not be read.
  std::set<std::pair<std::size_t, std::size_t>> same_files{};
};

enum class DiffKind : std::uint8_t { kOnlyInA, kOnlyInB, kShape, kDtype, kValues, kEqual };

struct TensorDiff {
  DiffKind kind;
  std::string name;         // its name in A after renaming, or in B
  const ComparedTensor* a;  // null if only in B
  const ComparedTensor* b;  // null if only in A
  std::string tied_to;      // its name on the other side, if the embeddings are tied
  Comparison comparison{};  // set for kValues, and for equal values in another dtype
};

struct Diff {
  ComparedNames names;              // holds the tensors
  std::vector<TensorDiff> tensors;  // sorted by name
  [[nodiscard]] std::uint64_t count(DiffKind kind) const;
  [[nodiscard]] bool same() const;
};

// Reads both inputs. Throws kMalformed if renaming gives two tensors the same name.
Diff diff_inputs(const Input& a, const Input& b, const DiffOptions& options, unsigned threads,
                 Progress& progress);

// One line for each tensor that differs, broken at `width` columns (0: never), and a summary.
std::string diff_text(const Diff& diff, std::size_t width);
std::string diff_json(const Input& a, const Input& b, const PlainSides& plain, const Diff& diff);

}  // namespace mu
