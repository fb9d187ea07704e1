// SPDX-License-Identifier: Apache-2.0
// Adding one file of any format to a set. Private to this folder.
#pragma once

#include "os/file.h"
#include "weights/safetensors.h"
#include "weights/weights.h"

namespace mu {

// Recognises the format by the file's first bytes, or by its name when they are not enough. `key` is for torch
// files (add_torch_file).
void add_any(Weights& weights, InputFile input, std::string_view key);

// Appends a file whose safetensors header was parsed, and its tensors.
void add_parsed(Weights& weights, WeightsFile file, SafetensorsHeader header);

// Notes a name that is in two files of the set (IX-TWICE).
void check_twice(Weights& weights);

// Raises the soft limit of descriptors for sets of thousands of shards.
void allow_open_files(std::size_t count);

}  // namespace mu
