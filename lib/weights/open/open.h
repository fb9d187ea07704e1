// SPDX-License-Identifier: Apache-2.0
// From what a user names to a list of tensors: files of any format, recognised by their first bytes, sets of
// shards with an index, and standard input.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "weights/weights.h"

namespace mu {

// In all of these, `key` names the state dict to take from torch files; other formats have none. Empty: the only
// one there is, or the one below a usual name (weights/torch/state_dict.h).

// Opens one file of any format: safetensors, torch zip or legacy stream, pickle, .npy, .npz or GGUF. What is
// wrong with it is in `findings`; throws kIo when it can't be read, kMalformed for a container that can't be
// read at all. An array of a .npy file gets the file's name without suffix.
Weights open_weights(const std::string& path, std::string_view key = {});

// Opens an index and the shards it names in its folder, and compares the two in both directions (IX-*). A
// missing shard is a finding of level kLoads.
Weights open_sharded(const std::string& index_path, std::string_view key = {});

// Opens several files as one set. A name that is in two of them is a finding (IX-TWICE).
Weights open_files(const std::vector<std::string>& paths, std::string_view key = {});

// What to do with the data that follow the header in a stream.
enum class StreamData : std::uint8_t {
  kLeave,  // header only: stop reading
  kCount,  // read to the end, so that the size can be checked
  kSpool,  // keep them in a temporary file without a name, for callers that read tensors
};
// Reads standard input. A regular file behind it is used as it is.
Weights open_stdin(StreamData data, std::string_view key = {});

}  // namespace mu
