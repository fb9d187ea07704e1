// SPDX-License-Identifier: Apache-2.0
// Names that wrappers leave in the tensors of a training process: FSDP, activation checkpointing,
// torch.compile, DataParallel, DeepSpeed and PEFT.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "weights/weights.h"

namespace mu {

// The modules that FSDP, activation checkpointing and torch.compile put around others, anywhere in a name.
inline constexpr std::array<std::string_view, 3> kWrapperModules = {
    "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod"};

struct WrapperRules {
  bool of_adapter = false;  // "base_model.model." belongs to the names of an adapter: it stays without a word
  bool leading = true;      // whether what leads all names is removed; a caller may cut it itself
};

// What is removed from names, by these rules:
//
//   those of kWrapperModules, each with the dot behind it, wherever they are
//   "module.", "_forward_module.", "base_model.model." at the beginning, as often as they are there
//       if every tensor has it and none is an adapter's
//
// A rule that would give two tensors one name is not applied to any.
struct WrapperRemoval {
  struct Removed {
    std::string wrapper;  // "_orig_mod.", "module.module.": all that led the names; cut if long, for people
    std::uint64_t names;
  };
  std::vector<Removed> removed;
  std::vector<std::string> kept;   // why a wrapper stays, a sentence each
  std::vector<std::string> names;  // of the tensors, in their order; empty if nothing is removed
};
WrapperRemoval plan_wrapper_removal(const std::vector<Tensor>& tensors, const WrapperRules& rules = {});

// The names that files have for tensors from which a wrapper was removed, by the names without it.
using ListedNames = std::unordered_map<std::string, std::string>;

struct RemovedWrappers {
  std::vector<std::string> notes;  // what was removed and what stays, a sentence each
  ListedNames listed;
};
// Renames the tensors.
RemovedWrappers remove_wrapper_names(Weights& weights, const WrapperRules& rules);

}  // namespace mu
