// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "os/spool.h"
#include "weights/open/any.h"
#include "weights/open/open.h"

namespace mu {
namespace {

std::span<std::byte> writable(std::string& text, std::size_t from) {
  return std::as_writable_bytes(std::span(text)).subspan(from);
}

Weights spool_stdin(std::string_view key) {
  Weights weights;
  add_any(weights, spool_stream(STDIN_FILENO, "-"), key);
  return weights;
}

}  // namespace

Weights open_stdin(StreamData data, std::string_view key) {
  struct stat status {};
  if (::fstat(STDIN_FILENO, &status) == 0 && S_ISREG(status.st_mode)) {
    Weights weights;
    add_any(weights, InputFile::adopt(Fd(::dup(STDIN_FILENO)), "-"), key);
    return weights;
  }
  if (data == StreamData::kSpool) return spool_stdin(key);
  Weights weights;
  std::string start(8, '\0');
  start.resize(read_stream(STDIN_FILENO, writable(start, 0), "standard input"));
  const std::optional<std::uint64_t> bytes =
      safetensors_header_size(start, std::nullopt, "-", weights.findings);
  SafetensorsHeader header;
  std::string json;
  std::uint64_t size = start.size();
  if (bytes) {
    // In pieces: a short stream must not take the 100 MB that its first bytes may promise.
    while (json.size() < *bytes) {
      const std::size_t have = json.size();
      json.resize(static_cast<std::size_t>(std::min<std::uint64_t>(*bytes, have + (1U << 20))));
      const std::size_t got = read_stream(STDIN_FILENO, writable(json, have), "standard input");
      if (have + got < json.size()) {
        json.resize(have + got);
        break;
      }
    }
    size += json.size();
    if (json.size() < *bytes) {
      safetensors_header_size(start + json.substr(0, 512), size, "-", weights.findings);
    } else {
      header = parse_safetensors_header(json, "-", weights.findings);
    }
  }
  if (data == StreamData::kCount) {
    std::vector<std::byte> buffer(1U << 20);
    while (const std::size_t got = read_stream(STDIN_FILENO, buffer, "standard input")) size += got;
    if (weights.findings.first_up_to(Level::kLoads) == nullptr) {
      check_safetensors_size(header, size, "-", weights.findings);
    }
  } else if (bytes) {
    size = header.data_begin() + header.data_bytes;
  }
  WeightsFile file{.name = "-", .file = std::nullopt, .size = size, .data_begin = 0, .metadata = {}};
  file.stream_header = std::move(json);
  file.is_safetensors = true;
  add_parsed(weights, std::move(file), std::move(header));
  return weights;
}

}  // namespace mu
