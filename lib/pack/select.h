// SPDX-License-Identifier: Apache-2.0
// Which tensors st-pack takes, under which name and in which dtype: a pure function of the list and the
// options.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/glob.h"
#include "base/rename.h"
#include "model/wrappers.h"
#include "tensor/dtype.h"
#include "tensor/tensor.h"
#include "weights/safetensors.h"

namespace mu {

struct Selection {
  std::vector<Glob> select;  // on input names, with what wrappers added or without it; empty: all
  std::vector<Glob> exclude;
  std::optional<std::set<std::string>> names;    // only these input names
  std::vector<Rename> rename;                    // applied after selecting
  std::optional<Dtype> dtype;                    // for floating tensors
  std::vector<std::pair<Glob, Dtype>> dtype_of;  // overrides `dtype`; the last match counts
};

// A tensor to be written.
struct PackedTensor {
  const Tensor* input;  // borrowed from the list given to select_tensors()
  TensorSpec output;
};

// Whether a selection, by its globs and names, takes an input name. Here and below, `listed` has the names as
// the files have them where a wrapper was removed; both count.
bool is_selected(const Selection& selection, const std::string& name, const ListedNames& listed = {});

// The tensors that the selection takes, in the order of `tensors`, without those whose input name is in
// `dropped` (sorted). Throws kMalformed for a name that does not exist; kRefused if two tensors would get one
// name, a name is empty, nothing is left, or a cast is not available.
std::vector<PackedTensor> select_tensors(const std::vector<Tensor>& tensors, const Selection& selection,
                                         const std::vector<std::string>& dropped,
                                         const ListedNames& listed = {});

// The globs and rules of a selection that match none of the input names, a sentence each.
std::vector<std::string> unmatched_rules(const std::vector<std::string>& names, const Selection& selection,
                                         const ListedNames& listed = {});

}  // namespace mu
