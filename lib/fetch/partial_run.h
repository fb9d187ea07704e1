// SPDX-License-Identifier: Apache-2.0
// What becomes of a partial output (partial.h) when its run ends.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "fetch/partial.h"

namespace mu {

// Does `work` with the partial output of `target`; the work puts the output in place itself. After success the partial
// output is removed, and after a fault that the same command would meet again. It is kept after a signal, kTemporary
// and kIo; the program then ends with a note that says how much it keeps and which command continues.
void with_partial_output(const std::string& target, const std::string& identity, bool fresh,
                         const std::function<void(PartialOutput& partial)>& work);

// That note: the command without --force, which would start anew. `is_in_the_way`: something is where the output goes, as
// of a run that was to replace it.
std::string continue_note(const std::string& path, std::uint64_t bytes,
                          const std::vector<std::string>& command, bool is_in_the_way);

}  // namespace mu
