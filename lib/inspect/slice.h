// SPDX-License-Identifier: Apache-2.0
// --print: values of one tensor or of a slice of it, "NAME[0:4,:8]".
#pragma once

#include <string>
#include <string_view>

#include "weights/weights.h"

namespace mu {

// Reads what the expression names and prints it: the last dimension on one line with blanks between, an empty
// line between matrices; or as a JSON object with name, dtype, shape and nested values. An index in place of
// a range drops its dimension; negative ones count from the end; dimensions left out are whole. Throws kUsage
// for an expression that makes no sense, kMalformed for a name that is not there.
void print_slice(const Weights& weights, std::string_view expression, bool json);

}  // namespace mu
