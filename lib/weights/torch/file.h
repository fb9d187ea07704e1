// SPDX-License-Identifier: Apache-2.0
// Files that torch.save wrote (torch/serialization.py): a zip archive of a pickle and raw storages since
// torch 1.6, a stream of pickles and storages before; and plain pickles. Read as a tree of inert values and a
// list of tensors.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "weights/pickle/pickle.h"
#include "weights/pickle/safety.h"
#include "weights/weights.h"

namespace mu {

enum class TorchContainer : std::uint8_t {
  kZip,
  kLegacy,
  kScript,  // a zip of TorchScript: code beside the tensors
  kPickle,  // no storages
};
std::string_view container_name(TorchContainer container);

// What such a file holds beside its tensors.
struct TorchObject {
  TorchContainer container = TorchContainer::kPickle;
  std::string data;  // the pickle's bytes, which `pickle` refers to
  std::unique_ptr<Pickle> pickle;
  std::string root_name;  // the zip's folder: the name under which the file was written, or "archive"
  std::vector<PickleReport> reports;  // of this pickle and of others in the file

  // Whether the tensors are those of a state dict: a mapping of names to tensors, at the root or below the
  // key `state_dict_key` ("model"; dots between several).
  bool is_state_dict = false;
  std::string state_dict_key;
  std::vector<std::string> left_out;     // the first of its entries that are no tensors: "epoch (int)"
  std::uint64_t left_out_count = 0;      // of all such entries
  std::uint64_t unreferenced_bytes = 0;  // of storages, that no tensor uses

  [[nodiscard]] Verdict worst() const;
};

// True when the first bytes of a file are those of a zip archive, a pickle or a legacy torch file.
bool is_torch_start(std::string_view start);

// Adds the file and its tensors to the set: the state dict's in its order, or all that the tree holds, named
// by their paths. What keeps torch from loading it are findings of level loads (PT-*, ZP-*, PK-*); what the
// pickle names or calls is in the object's reports, not in the findings. Throws kMalformed for containers
// that can't be read at all.
void add_torch_file(Weights& weights, InputFile file);

// What a key of a mapping is called: a text itself, numbers in digits, "(a, 1)". Long ones are cut.
std::string pickle_key_text(const Pickle& pickle, PickleId key);

// True when a node is a tensor (or parameter) as torch writes them.
bool is_tensor_node(const Pickle& pickle, PickleId id);

}  // namespace mu
