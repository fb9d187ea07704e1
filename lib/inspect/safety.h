// SPDX-License-Identifier: Apache-2.0
// What loading the pickles of an input would do to Python, for users and programs.
#pragma once

#include <string>

#include "base/json_write.h"
#include "model/input.h"

namespace mu {

// One line for the default view; empty without a pickle.
std::string safety_line(const Input& input);
// For views that don't report safety: what is dangerous and where, or empty.
std::string danger_text(const Input& input);
// Every global with its verdict and every call, one a line, then the answer of torch's weights_only reader.
std::string safety_text(const Input& input);
// 4 if something dangerous is named, 1 if something unknown is, else 0.
int safety_exit_code(const Input& input);

// Writes the member "pickles" of the JSON report; nothing if there is no pickle.
void write_pickles(JsonWriter& json, const Input& input);

}  // namespace mu
