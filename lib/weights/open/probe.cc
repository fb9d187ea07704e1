// SPDX-License-Identifier: Apache-2.0
#include "weights/open/probe.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/json_scan.h"
#include "weights/archive/zip.h"
#include "weights/open/open.h"
#include "weights/safetensors.h"
#include "weights/weights.h"

namespace mu {
namespace {

constexpr std::size_t kPiece = 1U << 20;  // bytes read at a time

std::string read_text(const InputFile& file, std::uint64_t offset, std::uint64_t size) {
  std::string text(static_cast<std::size_t>(size), '\0');
  file.read_at(offset, std::as_writable_bytes(std::span(text)));
  return text;
}

// How far the tensors of a header reach, by the second numbers of all "data_offsets". In sound JSON, the key
// with its quotes can appear elsewhere only as another key or a whole string, and then no two numbers follow.
// Nothing when the header is written in a way that needs the real parser. An order of magnitude faster than
// that.
std::optional<std::uint64_t> data_end(std::string_view header) {
  constexpr std::string_view kKey = "\"data_offsets\"";
  const char* const end = header.data() + header.size();
  std::uint64_t largest = 0;
  // memmem, since string_view::find stops at every quote.
  const auto next = [&](std::size_t from) -> std::size_t {
    const void* const found = ::memmem(header.data() + from, header.size() - from, kKey.data(), kKey.size());
    return found == nullptr ? std::string_view::npos
                            : static_cast<std::size_t>(static_cast<const char*>(found) - header.data());
  };
  for (std::size_t at = next(0); at != std::string_view::npos; at = next(at)) {
    at += kKey.size();
    const auto skip = [&](char expected) {
      while (at < header.size() && header[at] == ' ') ++at;
      return at < header.size() && header[at] == expected && ++at > 0;
    };
    const auto number = [&]() -> std::optional<std::uint64_t> {
      while (at < header.size() && header[at] == ' ') ++at;
      std::uint64_t value = 0;
      const std::from_chars_result parsed = std::from_chars(header.data() + at, end, value);
      at = static_cast<std::size_t>(parsed.ptr - header.data());
      return parsed.ec == std::errc() ? std::optional(value) : std::nullopt;
    };
    if (!skip(':') || !skip('[') || !number() || !skip(',')) return std::nullopt;
    const std::optional<std::uint64_t> value = number();
    if (!value || !skip(']')) return std::nullopt;
    largest = std::max(largest, *value);
  }
  // The last tensor's brace and the header's own.
  const auto back_to = [&header](std::size_t from) { return header.find_last_not_of(' ', from); };
  const std::size_t last = back_to(std::string_view::npos);
  const std::size_t before = last == std::string_view::npos || last == 0 ? last : back_to(last - 1);
  if (before == std::string_view::npos || header[last] != '}' ||
      (header[before] != '}' && header[before] != '{') || header.front() != '{')
    return std::nullopt;
  return largest;
}

// Probes a header with the real parser.
FileProbe parse_header(const std::string& json, const InputFile& file) {
  Findings findings;
  const SafetensorsHeader header = parse_safetensors_header(json, file.path(), findings);
  if (findings.first_up_to(Level::kLoads) == nullptr)
    check_safetensors_size(header, file.size(), file.path(), findings);
  if (const Finding* finding = findings.first_up_to(Level::kLoads)) return {finding->message};
  return {"", header.data_bytes};
}

// Checks the CRC of every stored member and reads what lies between.
std::string wrong_checksums(const InputFile& file) {
  Findings findings;
  const ZipArchive archive(file, 0, file.size(), findings);
  std::uint64_t wrong = 0;
  std::vector<std::byte> piece(kPiece);
  for (const ZipEntry& entry : archive.entries()) {
    if (entry.method != 0) continue;
    const std::uint64_t begin = archive.data_offset(entry);
    uLong crc = ::crc32(0, nullptr, 0);
    for (std::uint64_t at = 0; at < entry.size; at += kPiece) {
      const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, entry.size - at));
      file.read_at(begin + at, std::span(piece).first(size));
      crc = ::crc32(crc, reinterpret_cast<const Bytef*>(piece.data()), static_cast<uInt>(size));
    }
    if (entry.crc != crc) ++wrong;
  }
  return wrong == 0 ? ""
                    : fmt::format("{} of {} members have another checksum than was written", wrong,
                                  archive.entries().size());
}

}  // namespace

FileProbe probe_safetensors(const InputFile& file) {
  Findings findings;
  const std::string start = read_text(file, 0, std::min<std::uint64_t>(file.size(), 512));
  const std::optional<std::uint64_t> size =
      safetensors_header_size(start, file.size(), file.path(), findings);
  if (!size) {
    const Finding* const finding = findings.first_up_to(Level::kLoads);
    return {finding == nullptr ? "is not a safetensors file" : finding->message};
  }
  const std::string header = read_text(file, 8, *size);
  const std::optional<std::uint64_t> end = data_end(header);
  if (end && 8 + *size + *end == file.size()) return {"", *end};
  return parse_header(header, file);
}

std::unordered_set<std::string> safetensors_names(const InputFile& file) {
  Findings findings;
  const std::string start = read_text(file, 0, std::min<std::uint64_t>(file.size(), 512));
  const std::optional<std::uint64_t> size =
      safetensors_header_size(start, file.size(), file.path(), findings);
  if (!size) throw malformed("is not a safetensors file");
  const std::string header = read_text(file, 8, *size);
  JsonScanner scanner(header);
  std::unordered_set<std::string> names;
  std::string scratch;
  scanner.expect('{', "an object");
  if (scanner.take('}')) return names;
  do {
    const std::string_view name = scanner.string(scratch);
    if (name != "__metadata__") names.emplace(name);
    scanner.expect(':', "':'");
    scanner.skip_value(1);
  } while (scanner.take(','));
  scanner.expect('}', "'}'");
  return names;
}

FileProbe probe_torch(const InputFile& file) {
  constexpr std::size_t kEndSize = 22, kLocatorSize = 20, kEnd64Size = 56;
  constexpr std::uint32_t kEndMark = 0x06054b50, kLocatorMark = 0x07064b50;
  constexpr std::uint32_t kIn64 = 0xFFFFFFFF;
  if (file.size() < 2) return {file.size() == 0 ? "is empty" : "is cut"};
  // torch writes no comment, so the end record is the end of the file.
  const std::string tail =
      file.size() < kEndSize
          ? std::string()
          : read_text(file, file.size() - std::min<std::uint64_t>(file.size(), kEndSize + kLocatorSize),
                      std::min<std::uint64_t>(file.size(), kEndSize + kLocatorSize));
  if (tail.size() >= kEndSize) {
    const std::byte* const end = as_bytes(tail).data() + tail.size() - kEndSize;
    if (load_le<std::uint32_t>(end) == kEndMark && load_le<std::uint16_t>(end + 20) == 0) {
      const std::uint64_t end_at = file.size() - kEndSize;
      std::uint64_t size = load_le<std::uint32_t>(end + 12), offset = load_le<std::uint32_t>(end + 16);
      const bool has_locator = tail.size() == kEndSize + kLocatorSize &&
                               load_le<std::uint32_t>(end - kLocatorSize) == kLocatorMark;
      if (has_locator && (size == kIn64 || offset == kIn64)) {
        const auto at = load_le<std::uint64_t>(end - kLocatorSize + 8);
        if (at > end_at || end_at - at < kEnd64Size) return {"its zip64 end record lies outside"};
        const std::string end64 = read_text(file, at, kEnd64Size);
        size = load_le<std::uint64_t>(as_bytes(end64).data() + 40);
        offset = load_le<std::uint64_t>(as_bytes(end64).data() + 48);
      }
      if (size > end_at || offset > end_at - size) return {"its zip directory lies outside the file"};
      return {"", file.size()};
    }
  }
  const std::string start = read_text(file, 0, std::min<std::uint64_t>(file.size(), 2));
  if (start.starts_with("PK")) return {"the zip archive has no end record: the file is cut"};
  const auto first = static_cast<unsigned char>(start.front());
  // Protocol 2 and later open with 0x80; protocols 0 and 1 with an opcode in ASCII. A cut write leaves zeros.
  if (first != 0x80 && (first < 0x20 || first > 0x7E)) return {"is not a torch file"};
  return {"", file.size()};
}

FileProbe probe_deeply(const std::string& path, std::string& warning) {
  try {
    const InputFile file(path);
    const Weights weights = open_weights(path);
    if (const Finding* finding = weights.findings.first_up_to(Level::kLoads)) return {finding->message};
    const std::string start = read_text(file, 0, std::min<std::uint64_t>(file.size(), 2));
    if (start == "PK") {
      warning = wrong_checksums(file);
    } else {
      std::vector<std::byte> piece(kPiece);
      for (std::uint64_t at = 0; at < file.size(); at += kPiece)
        file.read_at(at, std::span(piece).first(
                             static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, file.size() - at))));
    }
    return {"", weights.total_bytes()};
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kMalformed) throw;
    return {error.message()};
  }
}

}  // namespace mu
