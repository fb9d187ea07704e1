// SPDX-License-Identifier: Apache-2.0
// Sizes in bytes as people write and read them: decimal K/M/G/T and KB/MB/GB/TB, binary KiB/MiB/GiB/TiB.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mu {

// "5GB" -> 5000000000, "1.5 gb", "1e3MB", ".5KB", "64MiB", "500" (bytes). Fractions of a byte are cut off, as
// huggingface_hub does. Throws kUsage for anything else, such as negative sizes and what does not fit 64 bits.
std::uint64_t parse_size(std::string_view text);

// Four significant digits at most in decimal units: "512 B", "158.4 KB", "16.06 GB".
std::string format_size(std::uint64_t bytes);

}  // namespace mu
