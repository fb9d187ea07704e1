// SPDX-License-Identifier: Apache-2.0
// Removes trees by descriptors: in time linear in what they hold, and with two descriptors open however deep
// they are.
#pragma once

#include <cstdint>
#include <string>

namespace mu {

// Removes a file or a folder with everything in it; links are removed, never followed, and the root of a
// mount is never entered (kRefused). It is fine if something is gone already. Throws kIo. Never interrupted:
// this is how a program cleans up after itself.
void remove_tree(const std::string& path);
// The same for an entry of an open folder; `path` is for messages.
void remove_tree_at(int parent, const std::string& name, const std::string& path);

// The same for leftovers of other processes and for large trees: throws Interrupted between two entries.
void remove_tree_interruptibly(const std::string& path);
// Counts the removed entries in `removed`, also when it throws.
void remove_tree_interruptibly_at(int parent, const std::string& name, const std::string& path,
                                  std::uint64_t& removed);

}  // namespace mu
