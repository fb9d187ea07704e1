// SPDX-License-Identifier: Apache-2.0
// Checkpoints of Megatron-Core and of what is built on it (NeMo, Megatron-Bridge, verl's megatron backend): recognised
// and refused. Their layers are stacked, QKV is fused, weights are permuted by rank, and no file says how.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "os/folder.h"

namespace mu {

// True where metadata.json says that dist_checkpointing wrote the folder, in either of its formats.
bool is_megatron_folder(const std::string& path);

// The error for such a folder (DC-CLASS). The files in it and above it show who wrote it, and so what converts it.
Error megatron_error(const std::string& folder);

// Throws that error if the entries of a folder are those of a checkpoint: folders for each rank (mp_rank_00_001), the
// marker above them, NeMo's two folders or its archive.
void refuse_megatron(const std::string& folder, const std::vector<FolderEntry>& entries);

// True for a file of such a checkpoint that lies in the folder of a rank.
bool is_megatron_file(std::string_view name);

}  // namespace mu
