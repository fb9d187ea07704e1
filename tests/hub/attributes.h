// SPDX-License-Identifier: Apache-2.0
// What the Hub reads from the .gitattributes and .gitignore at the root of a repository.
#pragma once

#include <string>
#include <string_view>

namespace hub {

// The .gitattributes of a fresh repository.
std::string default_attributes();
// True when a pattern of this .gitattributes sends the path to LFS.
bool wants_lfs(std::string_view attributes, const std::string& path);
// True when this .gitignore ignores the path.
bool is_ignored(std::string_view ignore, const std::string& path);

}  // namespace hub
