// SPDX-License-Identifier: Apache-2.0
// Which weights no scheme should touch, by the names of their modules: those whose errors cost most, and those that
// no loader expects to be quantised.
#pragma once

#include <string_view>

namespace mu {

// What a module is, for which its weight stays as it is ("head", "router"); empty: it may be quantised. Whole parts
// of names count: gate_proj is not a gate.
std::string_view left_plain_as(std::string_view module, std::string_view model_type);

}  // namespace mu
