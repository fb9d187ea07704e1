// SPDX-License-Identifier: Apache-2.0
// The directory of a zip archive (PKWARE's APPNOTE.TXT 6.3.10, with zip64), as torch.save and numpy.savez write
// it. Like the readers of both, this one believes only the central directory, and checks every claim in it
// against the file before it is used.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/finding.h"
#include "os/file.h"
#include "weights/archive/inflate.h"

namespace mu {

struct ZipEntry {
  std::string_view name;  // borrowed from the archive
  std::uint16_t flags = 0;
  std::uint16_t method = 0;  // 0 stored, 8 deflated
  std::uint32_t crc = 0;
  std::uint64_t compressed = 0, size = 0;  // bytes
  std::uint64_t header = 0;                // of its local header, from the beginning of the archive
  std::uint64_t limit = 0;                 // where the next entry or the directory begins
  std::uint64_t data = 0;                  // where its data begin, from the beginning of the archive

  [[nodiscard]] bool is_folder() const { return name.ends_with('/'); }
};

class ZipArchive {
 public:
  // Reads the directory of the archive that fills bytes [begin, begin + size) of a file, which must outlive
  // it. Throws kMalformed for a directory that is missing, cut or lies: members that overlap, leave the file,
  // have the same name or no local header. Oddities go to `findings` (ZP-*, level spec).
  ZipArchive(const InputFile& file, std::uint64_t begin, std::uint64_t size, Findings& findings);
  ZipArchive(const ZipArchive&) = delete;
  ZipArchive& operator=(const ZipArchive&) = delete;

  [[nodiscard]] const std::vector<ZipEntry>& entries() const { return entries_; }  // in the directory's order
  [[nodiscard]] const ZipEntry* find(std::string_view name) const;

  // Byte of the file where the stored or deflated data of an entry begin.
  [[nodiscard]] std::uint64_t data_offset(const ZipEntry& entry) const { return begin_ + entry.data; }

  // A deflated entry as unpacked bytes. Throws kMalformed for other methods than deflate.
  [[nodiscard]] std::shared_ptr<InflatedMember> inflated(const ZipEntry& entry) const;

  // All of an entry in memory. Throws kMalformed beyond `limit` bytes.
  [[nodiscard]] std::string read(const ZipEntry& entry, std::uint64_t limit) const;
  // At most the first `most` bytes of it.
  [[nodiscard]] std::string read_start(const ZipEntry& entry, std::uint64_t most) const;

  // Whether the data of an entry, all of them, fit its CRC-32. torch can be set to write none, and checks none.
  [[nodiscard]] static bool is_intact(const ZipEntry& entry, std::string_view data);

 private:
  void read_directory(std::uint64_t offset, std::uint64_t size, std::uint64_t count, Findings& findings);
  void check_places(std::uint64_t directory, Findings& findings);
  void read_local_headers(Findings& findings);

  const InputFile& file_;
  std::uint64_t begin_;
  std::string directory_;
  std::vector<ZipEntry> entries_;
  std::vector<std::uint32_t> by_name_;                  // indices of entries_, sorted by name
  mutable std::shared_ptr<InflateSource> unpacking_{};  // of all deflated members that were asked for
};

}  // namespace mu
