// SPDX-License-Identifier: Apache-2.0
// The text of data/ties.txt, built in.
#pragma once

#include <string_view>

namespace mu {

extern const std::string_view tie_data;

}  // namespace mu
