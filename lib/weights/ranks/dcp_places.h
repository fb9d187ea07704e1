// SPDX-License-Identifier: Apache-2.0
// Where the metadata of a torch distributed checkpoint say that bytes lie, whatever program wrote it (FSDP,
// Megatron, torchtitan): enough to tell whether its files are there and long enough. dcp_metadata.h reads
// tensors, shapes and classes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace mu {

struct DcpPlaces {
  std::map<std::string, std::uint64_t> ends;  // file, and how many bytes it has at least
  bool has_optimizer = false;                 // something is called "optimizer…" or "optim…"
};

// Adds what one metadata file says. False when it keeps its places in an unknown way. Throws
// kMalformed for a pickle that is cut or broken, numbers that make no sense and names that lead elsewhere.
bool add_dcp_places(std::string_view metadata, DcpPlaces& places);

}  // namespace mu
