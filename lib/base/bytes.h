// SPDX-License-Identifier: Apache-2.0
// Little-endian numbers in byte buffers, and a reader that never leaves its buffer.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "base/error.h"

namespace mu {

static_assert(std::endian::native == std::endian::little, "casts and copies assume a little-endian host");

template <typename T>
concept Scalar = std::integral<T> || std::floating_point<T>;

// Reads a T at `data`, which needs no alignment and must hold sizeof(T) bytes.
template <Scalar T>
[[nodiscard]] T load_le(const std::byte* data) {
  T value;
  std::memcpy(&value, data, sizeof(T));
  return value;
}

template <Scalar T>
void store_le(std::byte* data, T value) {
  std::memcpy(data, &value, sizeof(T));
}

[[nodiscard]] inline std::span<const std::byte> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

[[nodiscard]] inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Walks a buffer it borrows from the caller. Reading past the end throws kMalformed.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  [[nodiscard]] std::size_t offset() const { return offset_; }
  [[nodiscard]] std::size_t remaining() const { return bytes_.size() - offset_; }

  std::span<const std::byte> take(std::size_t count) {
    if (count > remaining()) {
      throw malformed("needs " + std::to_string(count) + " bytes where " + std::to_string(remaining()) +
                      " are left");
    }
    const std::span<const std::byte> piece = bytes_.subspan(offset_, count);
    offset_ += count;
    return piece;
  }

  template <Scalar T>
  T take_le() {
    return load_le<T>(take(sizeof(T)).data());
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t offset_ = 0;
};

}  // namespace mu
