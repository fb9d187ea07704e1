// SPDX-License-Identifier: Apache-2.0
// What a plan reads over the network, as text for people.
#pragma once

#include <string>

#include "pack/plan.h"
#include "pack/write_result.h"

namespace mu {

// A line of the plan: how much, and where from; empty if nothing is.
std::string far_text(const PackPlan& plan);

// The end of the line about what was done.
std::string read_text(const PackPlan& plan, const FarRead& read);

}  // namespace mu
