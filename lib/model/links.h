// SPDX-License-Identifier: Apache-2.0
// Links in a model's folder that lead out of it. Publishing or copying such a file gives away what lies
// elsewhere under another name; the caches of the Hugging Face libraries are nevertheless made of them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mu {

// The real path of what `path` leads to where that is not below `real_folder` (a real path), or lies in what
// is never published there (.git, .cache); nothing where it stays inside, or is a blob of the libraries'
// cache.
std::optional<std::string> leads_out(const std::string& real_folder, const std::string& path);

// True when `path`, which need not exist yet, lies in the folder or is it.
bool lies_in(const std::string& folder, const std::string& path);

// True where the first bytes of a file are those of a text, in UTF-16 too.
bool is_text_start(std::string_view start);

// True for ".git" and ".cache" in any case, which are not part of a repository, and for what Windows or macOS
// take for ".git": "git~1", ".git" with blanks, dots or a stream behind it, or with characters inside that
// are not seen. Source: git (path.c, is_ntfs_dotgit; utf8.c, is_hfs_dotgit).
bool is_reserved_name(std::string_view name);

}  // namespace mu
