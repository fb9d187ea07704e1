// SPDX-License-Identifier: Apache-2.0
// What --force does to a folder that is there.
#pragma once

#include <string>
#include <vector>

#include "pack/plan.h"

namespace mu {

// Which files of an existing output folder --force replaces or removes, and which it keeps; sorted, with their
// folders. Throws kRefused if the folder holds a folder that we would not write.
struct Replacement {
  std::vector<std::string> replaced;
  std::vector<std::string> kept;
};
Replacement plan_replacement(const std::string& folder, const PackPlan& plan);

}  // namespace mu
