// SPDX-License-Identifier: Apache-2.0
// Tensors whose values are made of those of others as they are read: dequantised, merged, scaled. Nothing is kept
// but the description, so that any stretch can be read, by any thread, in memory that does not grow with the tensor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "weights/gather.h"

namespace mu {

using Compute = std::function<void(const Sources& sources, std::uint64_t at, std::span<std::byte> out)>;

// A tensor of `sources`, which `compute` reads (see Layout::compute). Throws kMalformed if its size overflows.
Tensor computed(std::string name, Dtype dtype, std::vector<std::uint64_t> shape, std::vector<Tensor> sources,
                Compute compute);

}  // namespace mu
