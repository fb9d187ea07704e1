// SPDX-License-Identifier: Apache-2.0
// The content digest "st-content-1": one number for what a set of tensors holds. It does not depend on how the
// tensors are spread over files, on their order, or on metadata and padding.
//
//   tensor hash     SHA-256 of: dtype name ("BF16"), NUL,
//                   dimensions in decimal with commas between ("2,3"), NUL,
//                   the tensor's bytes, little-endian, row-major
//   content digest  SHA-256 of the line "st-content-1\n" and, sorted bytewise by name, a line for each tensor:
//                   its name, TAB, its hash in lower-case hex, LF
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weights/weights.h"

namespace mu {

// Reads bytes of a tensor from `at` on into the span.
using ReadBytes = std::function<void(std::uint64_t at, std::span<std::byte> out)>;

// The tensor hash in hex. `type` is the name of the dtype ("BF16"); the `size` bytes are read through `read` in
// pieces of at most 1 MiB.
std::string tensor_hash(std::string_view type, const std::vector<std::uint64_t>& shape, std::uint64_t size,
                        const ReadBytes& read);

// The content digest of pairs of name and tensor hash, in any order.
std::string content_digest(std::vector<std::pair<std::string, std::string>> hashes);

// SHA-256 of a whole file in hex.
std::string file_hash(const InputFile& file, const std::function<void(std::uint64_t)>& on_bytes);

}  // namespace mu
