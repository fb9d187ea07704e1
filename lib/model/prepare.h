// SPDX-License-Identifier: Apache-2.0
// The step between opening a model and planning the output, the same for every program that writes a model:
// it refuses unsound and unsafe inputs, removes names and copies that only training needed, and finds tensors
// that are the same.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "model/dequantise.h"
#include "model/input.h"
#include "model/tied.h"
#include "model/wrappers.h"
#include "tensor/dtype.h"

namespace mu {

// What a change of the tensors did, such as merging an adapter.
struct ModelChange {
  std::vector<std::string> notes;
  std::vector<TiedName> tied;        // the pairs that were tied before and still are
  bool unties = false;               // embeddings that the config ties are no longer the same
  std::vector<ConfigEdit> config{};  // other values that the config gets
};

struct PrepareOptions {
  bool salvage = false;           // take the tensors of pickles that are dangerous to load
  std::optional<Dtype> copies{};  // take a run's 16-bit copies of this dtype for its fp32 masters
  bool strict_copies = true;      // refuse copies that differ from their masters, else cast the masters
  unsigned threads = 1;           // for comparing copies
  bool find_ties = false;         // reads the tensors that the config ties
  TieReading ties{};              // how it does
  bool selects = false;           // the caller takes some of the tensors, and looks for placeholders then
  bool leading_wrappers = true;   // remove what leads all names, too (wrappers.h)
  // What becomes of a quantised model: it stays as it is, or is made plain (dequantise.h), in this type or in the one
  // that its config names.
  bool make_plain = false;
  std::optional<Dtype> plain_dtype{};
  std::string instead{};  // what the user can do where it can't be made plain; empty: what the refusal says
  std::function<ModelChange(Input&, const std::vector<TiedName>&)> change{};  // called last; may be empty
  // Gets what the format does not allow, as soon as it is found; may be empty.
  std::function<void(const std::string&)> warn{};
};

struct Prepared {
  std::vector<std::string> notes;      // what was done and left out, a sentence each
  std::vector<TiedName> tied;          // names whose bytes repeat another tensor's
  bool unties = false;                 // embeddings that the config ties are no longer the same
  std::vector<ConfigEdit> config{};    // other values that the config gets
  std::optional<PlainChange> plain{};  // it was quantised, and is plain now
  ListedNames listed{};                // names that tensors have in their files, where a wrapper was removed
};

// Changes the input's list of tensors; reads no more of them than the options say. Throws kMalformed for
// weights that can't be trusted or are not weights, as require_sound and require_state_dicts do, and for
// copies that differ (ZR-MASTER, FS-MIX); also whatever `change` throws.
Prepared prepare_model(Input& input, const PrepareOptions& options);

}  // namespace mu
