// SPDX-License-Identifier: Apache-2.0
// What a file that torch.save wrote holds beside its tensors: the tree of inert values, and what was found in
// it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weights/pickle/pickle.h"
#include "weights/pickle/safety.h"
#include "weights/torch/placement.h"
#include "weights/torch/types.h"

namespace mu {

enum class TorchContainer : std::uint8_t {
  kZip,
  kLegacy,
  kScript,  // a zip of TorchScript: code beside the tensors
  kPickle,  // no storages
};
std::string_view container_name(TorchContainer container);

// Which of the processes of a run wrote a file.
struct RankPlace {
  std::optional<std::uint64_t> rank;  // none: the file does not say
  std::uint64_t ranks = 0;            // of how many, as far as the file tells; 0: it does not
};

struct DeviceMesh;  // distributed.h

// What the file of one process has of a tensor that it shares with others.
struct RankPiece {
  TorchType type{};                          // of the elements
  std::vector<Placement> placements{};       // of a DTensor, one for each dimension of the mesh
  std::shared_ptr<const DeviceMesh> mesh{};  // of a DTensor
  std::vector<Region> regions{};             // of the tensor; none: the process has nothing of it
  std::uint64_t bytes = 0;                   // of these
};

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
  std::string state_dict_key;                  // or the key that was asked for, if there is none below it
  std::vector<std::string> other_state_dicts;  // keys of further ones
  std::vector<std::string> left_out;           // the first of its entries that are not tensors: "epoch (int)"
  std::uint64_t left_out_count = 0;            // of all such entries
  std::uint64_t unreferenced_bytes = 0;        // of storages; no tensor uses them
  bool has_pieces = false;  // some tensors are distributed ones (distributed.h), of which it holds a part
  RankPlace place;          // of such a file
  // What it has of each distributed tensor, by name.
  std::map<std::string, RankPiece, std::less<>> pieces{};

  [[nodiscard]] Verdict worst() const;
};

}  // namespace mu
