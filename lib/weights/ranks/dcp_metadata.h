// SPDX-License-Identifier: Apache-2.0
// What the metadata of a torch distributed checkpoint say (torch/distributed/checkpoint/metadata.py): the
// tensors, the chunks that make each, and where every chunk is stored. Private to this folder.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "weights/torch/types.h"

namespace mu {

inline constexpr std::string_view kDcpMetadata = ".metadata";

struct DcpChunk {
  std::vector<std::uint64_t> offsets, sizes;

  auto operator<=>(const DcpChunk&) const = default;
};

// A stretch of a file of the folder.
struct DcpPlace {
  std::string file;
  std::uint64_t offset = 0, length = 0;  // bytes
};

struct DcpEntry {
  std::string key;                // flattened
  std::vector<std::string> path;  // as the state dict was nested
  TorchType type{};
  std::vector<std::uint64_t> shape;
  std::vector<DcpChunk> chunks;
};

struct DcpMetadata {
  std::vector<DcpEntry> entries;
  std::map<std::pair<std::string, std::vector<std::uint64_t>>, DcpPlace> places;  // by key and offsets
  std::vector<std::vector<std::string>> values;  // paths of entries that are not tensors
};

// Reads .metadata, or the metadata that every rank wrote where they did not coordinate. Throws kMalformed:
// DC-TORN and DC-NOMETA when there are none, DC-CLASS for anything else, DC-CHUNK for chunks that
// leave their tensor, DC-FILE for names that lead out of the folder, DC-XFORM for compressed pieces.
DcpMetadata read_dcp_metadata(const std::string& folder);

}  // namespace mu
