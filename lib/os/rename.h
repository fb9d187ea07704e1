// SPDX-License-Identifier: Apache-2.0
// Renaming without replacing.
#pragma once

#include <string>

namespace mu {

// Renames unless the target exists. True when done, false when it exists. Throws kIo. On file systems that
// can't do that in one step, an empty folder of that name that appears between the test and the rename of a
// folder is replaced; nothing else can be.
bool rename_new(const std::string& from, const std::string& to);
// The same for entries of open folders; `path` is for messages.
bool rename_new_at(int from_folder, const std::string& from, int to_folder, const std::string& to,
                   const std::string& path);

}  // namespace mu
