// SPDX-License-Identifier: Apache-2.0
// A deflated member of a zip archive, read by position. Reading on is streaming; the first step back unpacks
// the whole member once into a temporary file without a name.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "os/file.h"

namespace mu {

class InflatedMember {
 public:
  // `size` bytes of raw deflate data at `offset`, which must unpack to exactly `inflated_size` bytes with the
  // CRC-32 `crc`. `name` is for messages.
  InflatedMember(const InputFile& file, std::uint64_t offset, std::uint64_t size, std::uint64_t inflated_size,
                 std::uint32_t crc, std::string name);
  ~InflatedMember();
  InflatedMember(const InflatedMember&) = delete;
  InflatedMember& operator=(const InflatedMember&) = delete;

  [[nodiscard]] std::uint64_t size() const { return inflated_size_; }

  // Fills `out` from byte `offset` of the unpacked data. Thread safe. Throws kMalformed when the data are
  // broken or unpack to another size.
  void read_at(std::uint64_t offset, std::span<std::byte> out);

 private:
  struct Stream;  // zlib's state
  void restart();
  void inflate(std::span<std::byte> out);
  void spool();

  std::mutex mutex_;
  InputFile file_;
  std::uint64_t offset_, size_, inflated_size_;
  std::uint32_t crc_;
  std::string name_;
  std::unique_ptr<Stream> stream_;
  std::uint64_t position_ = 0;  // of the stream, in unpacked bytes
  std::unique_ptr<InputFile> spool_;
};

}  // namespace mu
