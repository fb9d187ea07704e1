// SPDX-License-Identifier: Apache-2.0
#include "weights/sniff.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/bytes.h"
#include "base/sizes.h"
#include "base/text.h"

namespace mu {
namespace {

constexpr std::string_view kLfsStart = "version https://git-lfs.github.com/spec/v1";

struct Magic {
  std::string_view start;
  std::string_view meaning;
};
using namespace std::string_view_literals;
constexpr std::array<Magic, 10> kMagics = {{
    {"PK\x03\x04"sv, "this is a zip archive, as torch.save writes it, not a safetensors file"},
    {"\x80\x02"sv, "this is a Python pickle, not a safetensors file"},
    {"\x80\x04"sv, "this is a Python pickle, not a safetensors file"},
    {"GGUF"sv, "this is a GGUF file, not a safetensors file"},
    {"\x93NUMPY"sv, "this is a .npy file, not a safetensors file"},
    {"\x1f\x8b"sv, "this is gzip data, not a safetensors file; unpack it first"},
    {"\x28\xb5\x2f\xfd"sv, "this is zstd data, not a safetensors file; unpack it first"},
    {"7z\xbc\xaf\x27\x1c"sv, "this is a 7-Zip archive, not a safetensors file; unpack it first"},
    {"PYTORCH1"sv, "this is of a preview of torch's format, which torch itself never read"},
    {"\x89HDF"sv, "this is an HDF5 file, not a safetensors file"},
}};

std::string describe_lfs_pointer(std::string_view text) {
  for (const std::string_view line : split(text, '\n')) {
    constexpr std::string_view kSize = "size ";
    if (!line.starts_with(kSize) || line.size() > 24) continue;
    const std::string digits(line.substr(kSize.size()));
    if (digits.empty() ||
        !std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return std::isdigit(c); }))
      break;
    return fmt::format(" ({})", format_size(std::stoull(digits)));
  }
  return "";
}

bool is_web_page(std::string_view start) {
  const std::string lower = lower_ascii(trim(start).substr(0, 64));
  return lower.starts_with("<!doctype html") || lower.starts_with("<html") || lower.starts_with("<head");
}

}  // namespace

bool is_lfs_pointer(std::string_view start) {
  return start.starts_with(kLfsStart);
}

bool is_tar_start(std::string_view start) {
  constexpr std::size_t kMark = 257;  // "ustar" of POSIX and GNU headers
  return start.size() > kMark + 5 && start.substr(kMark, 5) == "ustar";
}

bool looks_like_safetensors(std::string_view start, std::uint64_t file_size) {
  if (start.size() < 9 || start[8] != '{') return false;
  return load_le<std::uint64_t>(as_bytes(start).data()) <= file_size - 8;
}

std::optional<std::string> describe_foreign_file(std::string_view start) {
  if (is_lfs_pointer(start)) {
    return "this is a Git LFS pointer" + describe_lfs_pointer(start) +
           ": the file itself was not fetched; run 'git lfs pull'";
  }
  if (is_web_page(start)) return "this is a web page, not a safetensors file; the download went wrong";
  for (const Magic& magic : kMagics) {
    if (start.starts_with(magic.start)) return std::string(magic.meaning);
  }
  if (start.starts_with("{") || start.starts_with("<?xml")) {
    return "this is a text file, not a safetensors file";
  }
  return std::nullopt;
}

}  // namespace mu
