// SPDX-License-Identifier: Apache-2.0
// Paths of somebody's machine in prose and code.
#pragma once

#include <string_view>

namespace mu {

// Whether a line of a card holds an absolute path of Linux, macOS or Windows. Paths that mean the same on every
// machine, addresses and units such as "/kg/m^3" do not count.
bool has_machine_path(std::string_view line);

}  // namespace mu
