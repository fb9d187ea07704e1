// SPDX-License-Identifier: Apache-2.0
// From the nodes of a torch pickle to tensors: storages, views of them, and the mapping that is the state
// dict.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "weights/layout.h"
#include "weights/torch/object.h"
#include "weights/torch/types.h"
#include "weights/weights.h"

namespace mu {

// Where the bytes of a storage lie.
struct TorchStorage {
  std::uint64_t offset = 0;  // in the file, or 0 with `inflated`
  std::uint64_t bytes = 0;
  std::shared_ptr<InflatedMember> inflated{};
  std::uint64_t used = 0;  // up to which byte tensors refer to it
};

// A storage as a persistent id names it: ('storage', class, key, location, elements[, view]).
struct StorageReference {
  std::string_view class_name, key, location;
  std::uint64_t elements = 0;
  std::optional<TorchType> type{};  // nothing when the class is not one of torch's
  std::uint64_t view_offset = 0;    // elements; of legacy files
};

// Nothing when the node is not a reference as torch writes it. The texts belong to the pickle.
std::optional<StorageReference> find_storage_reference(const Pickle& pickle, PickleId id);

struct TorchStorages {
  static constexpr std::size_t kMost = 300'000;  // storages of one file
  std::map<std::string, TorchStorage, std::less<>> by_key;
  bool big_endian = false;
};

// True when a node is a tensor (or parameter) as torch writes them.
bool is_tensor_node(const Pickle& pickle, PickleId id);

// The tensor that a node makes, called `name`, in file `source` of a set. Throws kMalformed when it does
// not make one.
Tensor read_torch_tensor(const Pickle& pickle, TorchStorages& storages, std::uint32_t source,
                         std::string name, PickleId node);

struct NamedNode {
  std::string name;
  PickleId id;
};

// The tensors of the state dict of `object`, which lies below `key` if that is not empty, in its order and each name
// once (PT-DUP); or all that the tree holds, by their paths. Fills the object's fields on its state dict. Throws
// kMalformed when there are more or longer names than are read.
std::vector<NamedNode> list_tensor_nodes(TorchObject& object, Findings& findings, std::string_view file,
                                         std::string_view key = {});

// Adds the tensors of `object` to `weights` and fills the object's fields on its state dict, which lies below
// `key` if that is not empty.
void add_torch_tensors(Weights& weights, TorchObject& object, TorchStorages& storages, std::uint32_t source,
                       std::string_view file, std::string_view key = {});

}  // namespace mu
