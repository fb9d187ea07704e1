// SPDX-License-Identifier: Apache-2.0
// Removing a tree: by descriptors, in time linear in what it holds and with two descriptors open however deep
// it is.
#pragma once

#include <cstdint>
#include <string>

namespace mu {

// Removes a file or a folder with everything in it; links are removed, never followed, and the root of a
// mount is never entered (kRefused). What is gone already is fine. Throws kIo. Never interrupted: this is how
// a program cleans up after itself.
void remove_tree(const std::string& path);
// The same for an entry of an open folder; `path` is for messages.
void remove_tree_at(int parent, const std::string& name, const std::string& path);

// The same for what others left, or what there may be much of: throws Interrupted between two entries.
void remove_tree_interruptibly(const std::string& path);
// Counts in `removed` what has gone, also when it throws.
void remove_tree_interruptibly_at(int parent, const std::string& name, const std::string& path,
                                  std::uint64_t& removed);

}  // namespace mu
