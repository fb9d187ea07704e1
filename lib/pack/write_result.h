// SPDX-License-Identifier: Apache-2.0
// What was found out while a packed model was written.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tensor/cast.h"

namespace mu {

// A tensor whose values a cast changed beyond rounding.
using CastLoss = std::pair<std::string, CastReport>;

// What came over the network.
struct FarRead {
  std::uint64_t bytes = 0;   // by this run
  std::uint64_t before = 0;  // by earlier runs, whose work it went on with
};

struct WriteResult {
  std::vector<CastLoss> losses;       // in the order of the output
  std::optional<std::string> digest;  // the content digest of the output, if it was verified
  std::optional<FarRead> read{};      // nothing: all files are on this machine
};

}  // namespace mu
