// SPDX-License-Identifier: Apache-2.0
// Compares what the disk returns with what should be there.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "pack/plan.h"

namespace mu {

// What is known of the bytes of a tensor: their hash (weights/digest.h) or, where that is empty, their CRC-32.
struct TensorSum {
  std::string hash{};
  std::uint32_t crc = 0;
};

// What a tensor of a planned file should be; nothing: somebody else has compared it.
using Expected = std::function<std::optional<TensorSum>(const WeightsOutput& file, std::size_t tensor)>;

// What it is by the input, which is read again.
TensorSum sum_of_input(const WeightsOutput& file, std::size_t which);

// Reads the files of weights, tensor by tensor. Returns the content digest:
// of the model in the folder itself or, where there is none, of the tensors of all components. Throws kIo if a byte is
// another.
std::string verify_output(const PackPlan& plan, const std::vector<std::string>& paths, unsigned threads,
                          const Expected& expected);

}  // namespace mu
