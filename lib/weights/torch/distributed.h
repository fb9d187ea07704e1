// SPDX-License-Identifier: Apache-2.0
// Tensors of which the process that wrote the file holds only a part: DTensor (FSDP2, tensor parallelism, FSDP1
// with a mesh) and ShardedTensor (FSDP1), as torch 2.6 to 2.13 pickle them, and older ones in their own modules.
// Read off the nodes of a pickle into plain values.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "weights/layout.h"
#include "weights/pickle/pickle.h"
#include "weights/torch/placement.h"
#include "weights/torch/types.h"

namespace mu {

inline constexpr std::uint64_t kMaxRanks = 1'000'000;  // more than any cluster has

// How processes are arranged.
struct DeviceMesh {
  std::vector<std::uint64_t> sizes;  // of its dimensions
  std::vector<std::string> names;    // "fsdp", "tp"; may be empty
  // Where the process that wrote the file stands; none: it is not among them.
  std::optional<std::vector<std::uint64_t>> coordinate;
};

struct DistributedTensor {
  enum class Kind : std::uint8_t { kDTensor, kShardedTensor } kind = Kind::kDTensor;
  TorchType type{};
  std::vector<std::uint64_t> shape;        // of the whole tensor, as torch counts it
  std::shared_ptr<const DeviceMesh> mesh;  // of a DTensor; shared by those of one file
  std::vector<Placement> placements;       // of a DTensor, one for each dimension of the mesh
  struct Piece {
    PickleId tensor = kNoNode;  // a node for read_torch_tensor()
    Region region;              // what it is of the whole; it may be empty
  };
  std::vector<Piece> pieces;  // what this file holds: at most one of a DTensor
};

// True for a node that is such a tensor.
bool is_distributed_tensor(const Pickle& pickle, PickleId id);

// True for what read_torch_tensor() makes of such a node if the file holds only a part of the tensor: it has a foreign
// type.
bool is_distributed_type(const Tensor& tensor);

// The shape of a piece's own tensor and its dtype, checked against what the whole says. Throws kMalformed [FS-PIECE]
// when they differ.
void check_piece(const Tensor& piece, const TorchType& type, const Region& region);

// Reads the distributed tensors of one pickle, which must outlive it. Meshes are read once.
class DistributedReader {
 public:
  explicit DistributedReader(const Pickle& pickle) : p_(pickle) {}

  // Throws kMalformed: [FS-MESH] for numbers that make no sense, [FS-PARTIAL] for values that have yet to be
  // summed up over the ranks.
  DistributedTensor read(PickleId id);

 private:
  std::shared_ptr<const DeviceMesh> mesh(PickleId id);
  void read_dtensor(DistributedTensor& tensor, PickleId state);
  void read_sharded(DistributedTensor& tensor, PickleId state);

  const Pickle& p_;
  std::unordered_map<PickleId, std::shared_ptr<const DeviceMesh>> meshes_;
};

// The node of the piece in the arguments of a call of _rebuild_from_type_v2, if it is the whole tensor, as in runs
// of one process; else kNoNode.
PickleId find_whole_piece(const Pickle& pickle, std::span<const PickleId> arguments);

// The shape of a plain tensor, from the arguments of the call that makes it.
std::optional<std::vector<std::uint64_t>> plain_tensor_shape(const Pickle& pickle, PickleId id);

}  // namespace mu
