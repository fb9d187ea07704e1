// SPDX-License-Identifier: Apache-2.0
// Files that torch.save wrote (torch/serialization.py): a zip archive of a pickle and raw storages since
// torch 1.6, a stream of pickles and storages before; and plain pickles. Read as a tree of inert values and a
// list of tensors.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "weights/torch/object.h"
#include "weights/torch/tensors.h"
#include "weights/weights.h"

namespace mu {

// True when the first bytes of a file are those of a zip archive, a pickle or a legacy torch file.
bool is_torch_start(std::string_view start);

// Adds the file and its tensors to the set: the state dict's in its order, or all that the tree holds, named
// by their paths. With `key` the state dict is the one below it ("ema", "app.model"). Whatever keeps torch from
// loading it is a finding of level loads (PT-*, ZP-*, PK-*); what the pickle names or calls is in the object's
// reports, not in the findings. Throws kMalformed for containers that can't be read at all.
void add_torch_file(Weights& weights, InputFile file, std::string_view key = {});

// A zip that torch.save wrote, in bytes [begin, begin + size) of a file: its pickle and where its storages
// lie. `object` gets no reports. Throws kMalformed when there is no pickle or it is broken.
struct TorchArchive {
  std::shared_ptr<TorchObject> object =
      std::make_shared<TorchObject>();  // stays where it is: the pickle refers to its data
  TorchStorages storages{};
};
TorchArchive open_torch_archive(const InputFile& file, std::uint64_t begin, std::uint64_t size,
                                Findings& findings);

}  // namespace mu
