// SPDX-License-Identifier: Apache-2.0
// A deflated member of a zip archive, read by position. Reading forward streams, also a second time from
// the front; any other step back unpacks the whole member once into a temporary file without a name.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "os/file.h"
#include "os/spool.h"

namespace mu {

// What the members of one archive have in common: its descriptor and the temporary file, so that thousands of
// members take two descriptors.
class InflateSource {
 public:
  explicit InflateSource(const InputFile& file);

  [[nodiscard]] const InputFile& file() const { return file_; }
  // Stores what `unpack(append)` hands to append(bytes); returns where it begins. One caller at a time.
  std::uint64_t spool(
      const std::function<void(const std::function<void(std::span<const std::byte>)>&)>& unpack);
  void read_spooled(std::uint64_t offset, std::span<std::byte> out) const { spool_->read_at(offset, out); }

 private:
  InputFile file_;
  std::mutex mutex_;
  std::unique_ptr<Spool> spool_;
};

class InflatedMember {
 public:
  // `size` bytes of raw deflate data at `offset`, which must unpack to exactly `inflated_size` bytes with the
  // CRC-32 `crc`. `name` is for messages.
  InflatedMember(std::shared_ptr<InflateSource> source, std::uint64_t offset, std::uint64_t size,
                 std::uint64_t inflated_size, std::uint32_t crc, std::string name);
  ~InflatedMember();
  InflatedMember(const InflatedMember&) = delete;
  InflatedMember& operator=(const InflatedMember&) = delete;

  [[nodiscard]] std::uint64_t size() const { return inflated_size_; }

  // Fills `out` from byte `offset` of the unpacked data. Thread safe. Throws kMalformed when the data are
  // broken or unpack to another size.
  void read_at(std::uint64_t offset, std::span<std::byte> out);

  // Frees the 100 KB of an unpacker; the next read starts again from the front.
  void rest();

 private:
  struct Stream;  // zlib's state
  void restart();
  void inflate(std::span<std::byte> out);
  void spool();

  std::mutex mutex_;
  std::shared_ptr<InflateSource> source_;
  std::uint64_t offset_, size_, inflated_size_;
  std::uint32_t crc_;
  std::string name_;
  std::unique_ptr<Stream> stream_;
  std::uint64_t position_ = 0;              // of the stream, in unpacked bytes
  bool finished_ = false;                   // the stream came to its end once
  std::optional<std::uint64_t> spooled_{};  // where the unpacked data begin in the temporary file
};

}  // namespace mu
