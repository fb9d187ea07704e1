// SPDX-License-Identifier: Apache-2.0
// --check: what readers of weights found, and what is missing or at odds in a folder, as findings with rule
// ids.
#pragma once

#include <string>

#include "model/input.h"

namespace mu {

// All findings of an input: its weights' (ST-*, IX-*) and, of a folder, the rules of completeness (MD-*,
// level hub). Reads small files of the folder, no tensor.
Findings check_input(const Input& input);

// One line a finding that breaks `level` or a weaker one, then one on the verdict.
std::string check_text(const Input& input, const Findings& findings, Level level);

// 4 when the reference library refuses the input, 1 when a finding breaks `level` or a weaker one, else 0.
int check_exit_code(const Findings& findings, Level level);

}  // namespace mu
