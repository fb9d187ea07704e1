// SPDX-License-Identifier: Apache-2.0
// Which files a tag folder of DeepSpeed holds: their names say the rank and the kind
// (deepspeed/checkpoint/constants.py, deepspeed/runtime/engine.py).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace mu {

// True for a tag folder: one that holds *_optim_states.pt or *_model_states.pt as DeepSpeed names them.
bool is_zero_folder(const std::string& path);

// The tag folder that `latest` in a folder names, or `latest_universal` if there is only that; empty when
// there is neither. Throws kMalformed (ZR-LATEST) when what it names is not there or leads elsewhere.
std::string zero_tag_folder(const std::string& folder);

// "bf16_zero_pp_rank_3_mp_rank_00_optim_states.pt" and its kin.
struct ZeroFileName {
  std::string name, prefix;  // "bf16_"
  bool is_optimizer = false;
  std::optional<std::uint64_t> rank;  // data-parallel; none for mp_rank_00_model_states.pt
  std::uint64_t model_rank = 0;
};
std::optional<ZeroFileName> parse_zero_file_name(std::string_view name);

// The files of one save by rank, model files and optimizer files. Throws kMalformed for those of pipeline,
// tensor and expert parallelism, for weights on NVMe, and for files of two saves (ZR-PIPE, ZR-TP, ZR-MOE,
// ZR-NVME, ZR-MIX).
struct ZeroFileNames {
  std::vector<ZeroFileName> model, optimizer;
};
ZeroFileNames list_zero_files(const std::string& folder);

// Throws kMalformed (ZR-MOE, ZR-PIPE) for the name of a file with some of a model's experts or layers.
void refuse_parallel_file(std::string_view name);

// The error for any sign of tensor parallelism; `seen` says which.
Error tensor_parallel_error(const std::string& seen);

}  // namespace mu
