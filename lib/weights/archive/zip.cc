// SPDX-License-Identifier: Apache-2.0
// A zip archive is read from its end: the end record, found by its mark, says where the directory of the
// archive lies; the zip64 records before it say so for archives beyond 4 GB; the directory says of each
// member its name, size, method and the place of its local header. Only where the data of a member begin is
// in the local header.
//
// torch and Python read archives in the same way, and tools that scan for malware in another, so everything
// in which two readers could see different archives is refused or is a finding: bytes before the first or
// after the last record, members that overlap, equal names, sizes or names in which directory and local
// header differ.
//
// Nothing is allocated by a number of the archive before it fits the file: the directory has a ceiling
// (kMaxDirectory), its entries must fit its bytes, and no member may claim to unpack to more than deflate can
// pack.
#include "weights/archive/zip.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"
#include "os/threads.h"

namespace mu {
namespace {

constexpr std::uint64_t kMaxDirectory = 32U << 20;  // bytes; some 400,000 members
constexpr std::size_t kEndSize = 22;                // of the end record, without its comment
constexpr std::size_t kMaxComment = 65535;
constexpr std::size_t kLocatorSize = 20;
constexpr std::size_t kEnd64Size = 56;
constexpr std::size_t kCentralSize = 46;
constexpr std::size_t kLocalSize = 30;
constexpr std::uint32_t kEndMark = 0x06054b50, kLocatorMark = 0x07064b50, kEnd64Mark = 0x06064b50,
                        kCentralMark = 0x02014b50, kLocalMark = 0x04034b50;
constexpr std::uint32_t kIn64 = 0xFFFFFFFF;  // "see the zip64 field"

struct Directory {
  std::uint64_t offset, size, count;
  std::uint64_t end;  // where the records after it begin
};

// Replaces fields of a central entry by those of its zip64 extra, in their fixed order.
void apply_zip64(std::span<const std::byte> extra, ZipEntry& entry) {
  ByteReader fields(extra);
  while (fields.remaining() >= 4) {
    const auto id = fields.take_le<std::uint16_t>();
    const auto length = fields.take_le<std::uint16_t>();
    ByteReader field(fields.take(length));
    if (id != 1) continue;
    for (std::uint64_t* value : {&entry.size, &entry.compressed, &entry.header}) {
      if (*value == kIn64) *value = field.take_le<std::uint64_t>();
    }
    return;
  }
}

// The last bytes of an archive, and where in them the end record begins.
struct Tail {
  std::string bytes;
  std::size_t end;

  [[nodiscard]] std::span<const std::byte> from(std::size_t at) const { return as_bytes(bytes).subspan(at); }
};

// The last mark counts, as for torch and Python: one inside a comment would show them another directory.
std::optional<std::size_t> find_end(std::string_view tail) {
  for (std::size_t at = tail.size() < kEndSize ? 0 : tail.size() - kEndSize + 1; at-- > 0;) {
    const std::byte* const here = as_bytes(tail).data() + at;
    if (load_le<std::uint32_t>(here) != kEndMark) continue;
    if (at + kEndSize + load_le<std::uint16_t>(here + 20) != tail.size())
      throw malformed("the end record of the zip archive is not at its end: something was appended");
    return at;
  }
  return std::nullopt;
}

Tail read_tail(const InputFile& file, std::uint64_t begin, std::uint64_t size) {
  const auto longest =
      static_cast<std::size_t>(std::min<std::uint64_t>(size, kEndSize + kMaxComment + kLocatorSize));
  // Nearly always there is no comment: the end record is the end of the file.
  const std::size_t quick = std::min(longest, kEndSize + kLocatorSize + kEnd64Size);
  for (const std::size_t count : {quick, longest}) {
    std::string bytes(count, '\0');
    file.read_at(begin + size - count, std::as_writable_bytes(std::span(bytes)));
    if (const std::optional<std::size_t> end = find_end(bytes)) return {std::move(bytes), *end};
    if (count == longest) break;
  }
  throw malformed("the zip archive has no end record: the file is cut, or something was appended");
}

// What the end record at byte `end_at` of the archive says.
Directory read_end(const Tail& tail, std::uint64_t end_at) {
  ByteReader record(tail.from(tail.end + 4));
  const auto disk = record.take_le<std::uint16_t>();
  record.take(2);
  record.take(2);
  Directory directory{.offset = 0, .size = 0, .count = record.take_le<std::uint16_t>(), .end = end_at};
  directory.size = record.take_le<std::uint32_t>();
  directory.offset = record.take_le<std::uint32_t>();
  if (disk != 0 && disk != 0xFFFF) throw malformed("the zip archive is one volume of several");
  return directory;
}

// What the zip64 records before the end record say; `small` itself where there are none.
Directory read_end64(const InputFile& file, std::uint64_t begin, const Tail& tail, const Directory& small) {
  const bool has_locator = tail.end >= kLocatorSize &&
                           load_le<std::uint32_t>(tail.from(tail.end - kLocatorSize).data()) == kLocatorMark;
  if (!has_locator) {
    if (small.count == 0xFFFF || small.size == kIn64 || small.offset == kIn64)
      throw malformed("the zip archive lacks its zip64 end record");
    return small;
  }
  const auto at = load_le<std::uint64_t>(tail.from(tail.end - kLocatorSize + 8).data());
  if (at > small.end || small.end - at < kEnd64Size + kLocatorSize)
    throw malformed("the zip64 locator points outside the archive");
  std::vector<std::byte> end64(kEnd64Size);
  file.read_at(begin + at, end64);
  if (load_le<std::uint32_t>(end64.data()) != kEnd64Mark)
    throw malformed("the zip64 locator points at no zip64 end record");
  const Directory big{.offset = load_le<std::uint64_t>(end64.data() + 48),
                      .size = load_le<std::uint64_t>(end64.data() + 40),
                      .count = load_le<std::uint64_t>(end64.data() + 32),
                      .end = at};
  const auto agrees = [](std::uint64_t in_small, std::uint64_t in_big, std::uint64_t escape) {
    return in_small == escape || in_small == in_big;
  };
  if (!agrees(small.count, big.count, 0xFFFF) || !agrees(small.size, big.size, kIn64) ||
      !agrees(small.offset, big.offset, kIn64))
    throw malformed("the two end records of the zip archive disagree");
  return big;
}

void check_directory(const Directory& directory) {
  const std::optional<std::uint64_t> end = checked_add(directory.offset, directory.size);
  if (!end || *end > directory.end) throw malformed("the directory of the zip archive lies outside the file");
  if (*end != directory.end)
    throw malformed(
        fmt::format("the directory of the zip archive is not where its end record says ({} bytes "
                    "apart): something was put before or into the archive",
                    directory.end - *end));
  if (directory.size > kMaxDirectory)
    throw malformed(fmt::format("the directory of the zip archive has {} bytes, more than {}", directory.size,
                                kMaxDirectory));
}

}  // namespace

ZipArchive::ZipArchive(const InputFile& file, std::uint64_t begin, std::uint64_t size, Findings& findings)
    : file_(file), begin_(begin) {
  const Tail tail = read_tail(file, begin, size);
  const Directory small = read_end(tail, size - tail.bytes.size() + tail.end);
  const Directory directory = read_end64(file, begin, tail, small);
  check_directory(directory);
  read_directory(directory.offset, directory.size, directory.count, findings);
  check_places(directory.offset, findings);
  read_local_headers(findings);
}

void ZipArchive::read_directory(std::uint64_t offset, std::uint64_t size, std::uint64_t count,
                                Findings& findings) {
  if (count > size / kCentralSize)
    throw malformed(fmt::format("the zip directory can't hold {} members", count));
  directory_.resize(static_cast<std::size_t>(size));
  file_.read_at(begin_ + offset, std::as_writable_bytes(std::span(directory_)));
  entries_.reserve(static_cast<std::size_t>(count));
  ByteReader reader(as_bytes(directory_));
  for (std::uint64_t i = 0; i < count; ++i) {
    if (reader.remaining() < kCentralSize || reader.take_le<std::uint32_t>() != kCentralMark)
      throw malformed(fmt::format("entry {} of the zip directory is broken", i + 1));
    ZipEntry entry;
    reader.take(4);  // versions
    entry.flags = reader.take_le<std::uint16_t>();
    entry.method = reader.take_le<std::uint16_t>();
    reader.take(4);  // time and date
    entry.crc = reader.take_le<std::uint32_t>();
    entry.compressed = reader.take_le<std::uint32_t>();
    entry.size = reader.take_le<std::uint32_t>();
    const auto name_size = reader.take_le<std::uint16_t>();
    const auto extra_size = reader.take_le<std::uint16_t>();
    const auto comment_size = reader.take_le<std::uint16_t>();
    reader.take(8);  // disk, attributes
    entry.header = reader.take_le<std::uint32_t>();
    entry.name = as_text(reader.take(name_size));
    apply_zip64(reader.take(extra_size), entry);
    reader.take(comment_size);
    entries_.push_back(entry);
  }
  if (reader.remaining() > 0)
    throw malformed("the zip directory has more entries than its end record counts");
  by_name_.resize(entries_.size());
  std::iota(by_name_.begin(), by_name_.end(), 0U);
  std::sort(by_name_.begin(), by_name_.end(),
            [this](std::uint32_t a, std::uint32_t b) { return entries_[a].name < entries_[b].name; });
  for (std::size_t i = 1; i < by_name_.size(); ++i) {
    if (entries_[by_name_[i]].name == entries_[by_name_[i - 1]].name)
      throw malformed("two members of the zip archive are called '" +
                      escape_name(entries_[by_name_[i]].name) + "'");
  }
  for (const ZipEntry& entry : entries_) {
    constexpr std::uint16_t kEncrypted = 0x2061;  // encrypted, patched, strongly encrypted, masked
    if ((entry.flags & kEncrypted) != 0)
      findings.add({"ZP-FLAGS", Level::kSpec, false,
                    fmt::format("the member '{}' is flagged as encrypted or patched, which torch ignores and "
                                "scanners stumble over",
                                escape_name(entry.name)),
                    file_.path()});
  }
}

// Members in the order of their places must not meet.
void ZipArchive::check_places(std::uint64_t directory, Findings& findings) {
  std::vector<std::uint32_t> order(entries_.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(),
            [this](std::uint32_t a, std::uint32_t b) { return entries_[a].header < entries_[b].header; });
  for (std::size_t i = 0; i < order.size(); ++i) {
    ZipEntry& entry = entries_[order[i]];
    entry.limit = i + 1 < order.size() ? entries_[order[i + 1]].header : directory;
    const std::optional<std::uint64_t> end = checked_add(entry.header, kLocalSize + entry.name.size());
    const std::optional<std::uint64_t> data_end = end ? checked_add(*end, entry.compressed) : std::nullopt;
    if (!data_end || *data_end > directory)
      throw malformed("the member '" + escape_name(entry.name) + "' reaches beyond the zip archive");
    if (*data_end > entry.limit)
      throw malformed("the member '" + escape_name(entry.name) + "' overlaps the next one");
  }
  if (!order.empty() && entries_[order.front()].header != 0)
    findings.add({"ZP-FRONT", Level::kSpec, false,
                  fmt::format("{} bytes lie in front of the first member of the zip archive",
                              entries_[order.front()].header),
                  file_.path()});
}

const ZipEntry* ZipArchive::find(std::string_view name) const {
  const auto found =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [this](std::uint32_t i, std::string_view key) { return entries_[i].name < key; });
  return found != by_name_.end() && entries_[*found].name == name ? &entries_[*found] : nullptr;
}

// Only the local header says where the data begin; the rest of it is often zero and is not believed.
void ZipArchive::read_local_headers(Findings& findings) {
  // From another machine each is a request of its own.
  constexpr unsigned kFarThreads = 16;
  std::vector<std::string> headers(entries_.size());
  parallel_for(entries_.size(), file_.far() != nullptr ? kFarThreads : 1, [&](std::size_t i) {
    headers[i].resize(kLocalSize + entries_[i].name.size());  // check_places made sure that so much is there
    file_.read_at(begin_ + entries_[i].header, std::as_writable_bytes(std::span(headers[i])));
  });
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    ZipEntry& entry = entries_[i];
    const std::span<const std::byte> local = as_bytes(headers[i]);
    if (load_le<std::uint32_t>(local.data()) != kLocalMark)
      throw malformed("the member '" + escape_name(entry.name) + "' has no local header");
    const auto name_size = load_le<std::uint16_t>(local.data() + 26);
    entry.data = entry.header + kLocalSize + name_size + load_le<std::uint16_t>(local.data() + 28);
    if (entry.data > entry.limit || entry.limit - entry.data < entry.compressed)
      throw malformed("the member '" + escape_name(entry.name) + "' overlaps what follows it");
    if (entry.method == 0 && entry.compressed != entry.size)
      throw malformed(fmt::format("the stored member '{}' has two sizes, {} and {}", escape_name(entry.name),
                                  entry.compressed, entry.size));
    const bool same_name = name_size == entry.name.size() && as_text(local.subspan(kLocalSize)) == entry.name;
    if (!same_name || load_le<std::uint16_t>(local.data() + 8) != entry.method)
      findings.add({"ZP-LOCAL", Level::kSpec, false,
                    fmt::format("the local header of '{}' gives another name or method than the directory, "
                                "which torch believes",
                                escape_name(entry.name)),
                    file_.path()});
  }
}

std::shared_ptr<InflatedMember> ZipArchive::inflated(const ZipEntry& entry) const {
  if (entry.method != 8)
    throw malformed(
        fmt::format("the member '{}' is packed with method {}; only stored and deflated ones are read",
                    escape_name(entry.name), entry.method));
  // Deflate packs at most 1032 to 1: a promise of more is a lie, and is found before memory is taken for it.
  if (entry.size / 1040 > entry.compressed)
    throw malformed("the member '" + escape_name(entry.name) + "' claims to unpack beyond what deflate can");
  if (!unpacking_) unpacking_ = std::make_shared<InflateSource>(file_);
  return std::make_shared<InflatedMember>(unpacking_, data_offset(entry), entry.compressed, entry.size,
                                          entry.crc, std::string(entry.name));
}

std::string ZipArchive::read_start(const ZipEntry& entry, std::uint64_t most) const {
  std::string text(static_cast<std::size_t>(std::min(entry.size, most)), '\0');
  if (entry.method == 0) {
    file_.read_at(data_offset(entry), std::as_writable_bytes(std::span(text)));
  } else {
    inflated(entry)->read_at(0, std::as_writable_bytes(std::span(text)));
  }
  return text;
}

std::string ZipArchive::read(const ZipEntry& entry, std::uint64_t limit) const {
  if (entry.size > limit)
    throw malformed(fmt::format("the member '{}' has {} bytes, more than {}", escape_name(entry.name),
                                entry.size, limit));
  return read_start(entry, entry.size);
}

bool ZipArchive::is_intact(const ZipEntry& entry, std::string_view data) {
  const auto* const bytes = reinterpret_cast<const Bytef*>(data.data());
  return ::crc32_z(::crc32(0, nullptr, 0), bytes, data.size()) == entry.crc;
}

}  // namespace mu
