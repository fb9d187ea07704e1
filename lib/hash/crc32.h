// SPDX-License-Identifier: Apache-2.0
// CRC-32 as zip and PNG have it (IEEE 802.3), by zlib. That of two runs of bytes gives that of both together, so pieces
// may come in any order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace mu {

// Of the bytes behind those whose sum is `before`.
std::uint32_t crc32(std::span<const std::byte> bytes, std::uint32_t before = 0);

// Of a run with the sum `first` and the `size` bytes behind it, which have the sum `second`.
std::uint32_t crc32_joined(std::uint32_t first, std::uint32_t second, std::uint64_t size);

}  // namespace mu
