// SPDX-License-Identifier: Apache-2.0
// Large buffers that are used again, so that their pages are not asked for and cleared each time. Of memory that is
// mapped for each: what is given back goes back at once, whatever the order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace mu {

class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t size);  // throws std::bad_alloc
  Buffer(Buffer&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer();

  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

// Never holds more than `limit` bytes, as long as no more are out. Not thread safe.
class BufferPool {
 public:
  explicit BufferPool(std::uint64_t limit) : limit_(limit) {}
  Buffer take(std::size_t size);
  void give_back(Buffer buffer);

 private:
  std::uint64_t limit_, out_ = 0, idle_bytes_ = 0;
  std::vector<Buffer> idle_;
};

}  // namespace mu
