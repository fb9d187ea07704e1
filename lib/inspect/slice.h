// SPDX-License-Identifier: Apache-2.0
// --print: the values of one tensor, or of a slice of it, "NAME[0:4,:8]".
#pragma once

#include <string>
#include <string_view>

#include "weights/weights.h"

namespace mu {

// Reads the named values and prints them: the last dimension on one line, with blanks between values and an
// empty line between matrices; or as a JSON object with name, dtype, shape and nested values. An index in
// place of a range drops its dimension; negative indices count from the end; missing dimensions are taken
// completely. Throws kUsage for an expression that makes no sense, kMalformed for a name that does not exist.
void print_slice(const Weights& weights, std::string_view expression, bool json);

}  // namespace mu
