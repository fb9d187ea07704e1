// SPDX-License-Identifier: Apache-2.0
// Which tensors st-pack takes, under what name and in what dtype: a pure function of the list and the
// options.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/glob.h"
#include "base/rename.h"
#include "tensor/dtype.h"
#include "tensor/tensor.h"
#include "weights/safetensors.h"

namespace mu {

struct Selection {
  std::vector<Glob> select;  // on input names; none means all
  std::vector<Glob> exclude;
  std::optional<std::set<std::string>> names;    // only these input names
  std::vector<Rename> rename;                    // applied after selecting
  std::optional<Dtype> dtype;                    // for floating tensors
  std::vector<std::pair<Glob, Dtype>> dtype_of;  // wins over `dtype`; the last that matches counts
};

// A tensor to be written.
struct PackedTensor {
  const Tensor* input;  // borrowed from the list that was selected from
  TensorSpec output;
};

// Whether the globs and names of a selection take an input name.
bool is_selected(const Selection& selection, const std::string& name);

// Tensors of `tensors` (in that order) that the selection takes, save those whose input name is in `dropped`
// (sorted). Throws kMalformed for names that don't exist, kRefused where two get one name, a name becomes
// empty, nothing is left, or a cast is not to be had.
std::vector<PackedTensor> select_tensors(const std::vector<Tensor>& tensors, const Selection& selection,
                                         const std::vector<std::string>& dropped);

// The first tensor that only makes sense beside quantised weights (scales, zero points, absmax …), or null: a
// cast of all floating tensors would ruin the model.
const Tensor* find_scale_tensor(const std::vector<Tensor>& tensors);

}  // namespace mu
