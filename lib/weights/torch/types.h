// SPDX-License-Identifier: Apache-2.0
// The element types of torch by the names under which its files know them.
#pragma once

#include <optional>
#include <string_view>

#include "tensor/dtype.h"

namespace mu {

struct TorchType {
  std::string_view name;  // "float32"
  Dtype dtype;            // kForeign where safetensors has no such type
  unsigned bytes;         // of one element
};

// Finds a type by a dtype's name ("bfloat16", "float8_e4m3fn", "quint8").
std::optional<TorchType> find_torch_type(std::string_view name);

// Finds a type by the class of a storage ("HalfStorage"). "UntypedStorage" counts bytes: uint8.
std::optional<TorchType> find_storage_type(std::string_view class_name);

}  // namespace mu
