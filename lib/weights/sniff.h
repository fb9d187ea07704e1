// SPDX-License-Identifier: Apache-2.0
// Says what a file is that is not a safetensors file: most reports of an "invalid header" are about a Git LFS
// pointer, a web page or a cut download, and one line that says so is the whole answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mu {

// A clause such as "this is a Git LFS pointer (4.977 GB): the file itself was not fetched; run 'git lfs
// pull'", from the first bytes of a file (512 are enough); nothing when they are not recognised.
std::optional<std::string> describe_foreign_file(std::string_view start);

bool is_lfs_pointer(std::string_view start);

// A tar header (POSIX ustar and the older forms that torch wrote have their mark or a checksum at fixed
// places).
bool is_tar_start(std::string_view start);

// Eight bytes of a length that the file can hold, then "{".
bool looks_like_safetensors(std::string_view start, std::uint64_t file_size);

}  // namespace mu
