// SPDX-License-Identifier: Apache-2.0
// --check: what the readers of the weights found, and what is missing or contradictory in a folder, as
// findings with rule ids.
#pragma once

#include <string>

#include "model/input.h"

namespace mu {

// All findings of an input: those of its weights (ST-*, IX-*) and, for a folder, those of the rules of
// completeness (MD-*, level hub). Reads small files of the folder, but no tensors.
Findings check_input(const Input& input);

// One line for each finding that breaks `level` or a weaker level; `name` is that of the input.
std::string findings_text(const Findings& findings, Level level, const std::string& name);

// The same lines, then one with the verdict.
std::string check_text(const Input& input, const Findings& findings, Level level);

// The verdict that all views share: true if the reference library refuses to open the input or a component of it,
// or loading one would run code. Every view then exits with 4.
bool is_refused(const Input& input);

// For the views that need tensors that can be trusted, all but --check: throws kMalformed with the first finding
// for which the reference library refuses the input or a component.
void require_loadable(const Input& input);

// The exit code of --check, from all findings: 4 if the input is refused, 1 if a finding breaks `level` or a weaker
// level or a pickle names what is not known to be harmless, else 0.
int check_exit_code(const Input& input, const Findings& findings, Level level);

}  // namespace mu
