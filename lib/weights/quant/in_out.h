// SPDX-License-Identifier: Apache-2.0
// Whole numbers in 32-bit words, stored as [in, out]: what GPTQ and AWQ have in common. A plain value is
// (q - zero) * scale, rounded to the scale's type and then to the one that is wanted.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "weights/quant/stored.h"

namespace mu {

struct InOutWeight {
  std::string name{};            // of the plain tensor
  unsigned bits = 4;             // 2, 4 or 8
  std::uint64_t group_size = 0;  // rows of [in, out] that share a scale; 0: all
  // The values of a word follow one another along the outputs (AWQ), else along the inputs. Zero points always lie
  // along the outputs.
  bool along_outputs = false;
  std::array<unsigned, 16> places{};  // of the outputs of a word, counted in values from the lowest bit
  std::uint32_t added = 0;            // to each word of zero points, before it is taken apart
  const Tensor* codes = nullptr;      // I32 [in * bits / 32, out], or [in, out * bits / 32] along the outputs
  const Tensor* scales = nullptr;     // [groups, out]
  const Tensor* zeros = nullptr;      // I32 [groups, out * bits / 32]; null: the middle of the range
  const Tensor* index = nullptr;      // I32 [in]: the group of each input; null: they are in order
};

// Throws kRefused where the config says GPTQ, and the shapes are those of AWQ, or the other way round.
void require_direction(const InOutWeight& weight);

// Throws kMalformed where the tensors don't fit.
PlainWeight plain_in_out(const InOutWeight& weight, const QuantContext& context);

}  // namespace mu
