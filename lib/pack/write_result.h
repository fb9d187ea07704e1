// SPDX-License-Identifier: Apache-2.0
// What was found out while a packed model was written.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tensor/cast.h"

namespace mu {

// A tensor whose values a cast changed beyond rounding.
using CastLoss = std::pair<std::string, CastReport>;

struct WriteResult {
  std::vector<CastLoss> losses;       // in the order of the output
  std::optional<std::string> digest;  // the content digest of the output, if it was verified
};

}  // namespace mu
