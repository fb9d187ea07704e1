// SPDX-License-Identifier: Apache-2.0
// Weights that compressed-tensors stores, in any of its formats: finds the config group that a module is in
// (CompressedTensorsDequantizer of compressed_tensors 0.20) and asks the function of its format.
#pragma once

#include "weights/quant/stored.h"

namespace mu {

// Reads the settings once. Throws kMalformed for settings that make no sense, kRefused for kinds of storage that can't
// be made plain.
PlainOf plain_compressed(const QuantContext& context);

}  // namespace mu
