// SPDX-License-Identifier: Apache-2.0
// From the nodes of a torch pickle to tensors: storages, views of them, and the mapping that is the state
// dict. Private to this folder.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "weights/layout.h"
#include "weights/torch/file.h"
#include "weights/torch/types.h"

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
  std::optional<TorchType> type{};  // nothing where the class is none of torch's
  std::uint64_t view_offset = 0;    // elements; of legacy files
};

// Nothing when the node is none as torch writes them. The texts belong to the pickle.
std::optional<StorageReference> find_storage_reference(const Pickle& pickle, PickleId id);

struct TorchStorages {
  static constexpr std::size_t kMost = 300'000;  // storages of one file
  std::map<std::string, TorchStorage, std::less<>> by_key;
  bool big_endian = false;
};

// The tensor that a node makes, called `name`, in file `source` of a set. Throws kMalformed when it makes
// none.
Tensor read_torch_tensor(const Pickle& pickle, TorchStorages& storages, std::uint32_t source,
                         std::string name, PickleId node);

// A zip that torch.save wrote, in bytes [begin, begin + size) of a file: its pickle and where its storages
// lie. `object` gets no reports. Throws kMalformed when there is no pickle or it is broken.
struct TorchPart {
  std::shared_ptr<TorchObject> object =
      std::make_shared<TorchObject>();  // stays where it is: the pickle refers to its data
  TorchStorages storages{};
};
TorchPart open_torch_part(const InputFile& file, std::uint64_t begin, std::uint64_t size, Findings& findings);

// Adds the tensors of `object` to `weights` and fills the object's fields on its state dict.
void add_torch_tensors(Weights& weights, TorchObject& object, TorchStorages& storages, std::uint32_t source,
                       std::string_view file);

}  // namespace mu
