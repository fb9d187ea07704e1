// SPDX-License-Identifier: Apache-2.0
// Base64 (RFC 4648 section 4): the standard alphabet, padded.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace mu {

// Appends the encoding of `bytes`. Pieces whose sizes are multiples of 3 can be appended one after the other.
void append_base64(std::string& out, std::span<const std::byte> bytes);
std::string to_base64(std::span<const std::byte> bytes);

}  // namespace mu
