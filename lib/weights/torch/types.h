// SPDX-License-Identifier: Apache-2.0
// The element types of torch by the names under which its files know them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace mu {

struct TorchType {
  std::string_view name;  // "float32"
  Dtype dtype;            // kForeign where safetensors has no such type
  unsigned bytes;         // of one element
};

// Finds a type by a dtype's name ("bfloat16", "float8_e4m3fn", "quint8").
std::optional<TorchType> find_torch_type(std::string_view name);

// The shape under which a tensor of torch is written: an element of float4_e2m1fn_x2 holds two values, which the
// last dimension counts (safetensors.torch of 0.8). Throws kMalformed when there is none or it overflows.
std::vector<std::uint64_t> written_shape(Dtype dtype, std::vector<std::uint64_t> shape);

// Finds a type by the class of a storage ("HalfStorage"). "UntypedStorage" counts bytes: uint8.
std::optional<TorchType> find_storage_type(std::string_view class_name);

}  // namespace mu
