// SPDX-License-Identifier: Apache-2.0
// Which tensors st-pack takes, in which dtype and under which name: pure functions of the list and the options.
// The order of work, in plan.cc, is that of the functions here: choose by the names of the input, after that the
// names of the model's class (names.h), then cast, and the user's own names last.
#pragma once

#include <optional>
#include <set>
#include <span>
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
  std::vector<Rename> rename;                    // of the names that are written, one after the other
  std::optional<Dtype> dtype;                    // for floating tensors
  std::vector<std::pair<Glob, Dtype>> dtype_of;  // by input names; overrides `dtype`; the last match counts
};

// A tensor to be written.
struct PackedTensor {
  const Tensor* input;  // what is read: borrowed from the input's list, or made of others in it (names.h)
  TensorSpec output;
  std::vector<const Tensor*> made_of{};  // those of the input's list; empty: `input` itself
  std::optional<std::size_t> block{};    // tensors with the same number stay in one shard

  [[nodiscard]] std::span<const Tensor* const> sources() const {
    return made_of.empty() ? std::span(&input, 1) : std::span(made_of);
  }
};

// Whether a selection, by its globs and names, takes an input name. Here and below, `listed` has the names as
// the files have them where a wrapper was removed; both count.
bool is_selected(const Selection& selection, const std::string& name, const ListedNames& listed = {});

// The tensors that the selection takes, as they are, in the order of `tensors`, without those whose input name is
// in `dropped` (sorted). Throws kMalformed for a name that does not exist; kRefused if nothing is left.
std::vector<PackedTensor> choose_tensors(const std::vector<Tensor>& tensors, const Selection& selection,
                                         const std::vector<std::string>& dropped,
                                         const ListedNames& listed = {});

// Sets the dtype in which each is written. Throws kRefused for a tensor made of others of which patterns choose some.
void cast_tensors(std::vector<PackedTensor>& tensors, const Selection& selection,
                  const ListedNames& listed = {});

// Throws kRefused if two tensors have one name, or one has none.
void require_own_names(const std::vector<PackedTensor>& packed);

// Applies --rename. Throws kRefused if two tensors would get one name or a name is empty.
void rename_tensors(std::vector<PackedTensor>& tensors, const std::vector<Rename>& rules);

// The globs of a selection that match none of the input names, a sentence each.
std::vector<std::string> unmatched_globs(const std::vector<std::string>& names, const Selection& selection,
                                         const ListedNames& listed = {});
// The rules of --rename that match none of these names, one rule after the other, a sentence each.
std::vector<std::string> unmatched_renames(std::vector<std::string> names, const std::vector<Rename>& rules);

}  // namespace mu
