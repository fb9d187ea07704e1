// SPDX-License-Identifier: Apache-2.0
// How compressed-tensors stored the weights of one of its config_groups: the group's `weights`.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

namespace mu {

// What has a scale of its own. tensor_group has a global scale besides.
enum class CtStrategy : std::uint8_t { kTensor, kChannel, kGroup, kBlock, kTensorGroup };

struct CtArgs {
  std::uint64_t num_bits = 8;
  bool is_float = false;  // type "float", else "int"
  CtStrategy strategy = CtStrategy::kTensor;
  std::optional<std::uint64_t> group_size{};                      // of kGroup and kTensorGroup
  std::optional<std::array<std::uint64_t, 2>> block_structure{};  // of kBlock: rows, columns
  bool symmetric = true;                                          // else there are zero points
};

}  // namespace mu
