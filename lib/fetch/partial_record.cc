// SPDX-License-Identifier: Apache-2.0
// "KIND BODY CHECKSUM": begin (id, identity), owner (run, boot, host, lock), step (text of
// the caller), end. The checksum is the first 8 bytes of SHA-256 of all before it.
#include "fetch/partial_record.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "hash/sha256.h"

namespace mu {
namespace {

constexpr std::size_t kIdDigits = 16;
constexpr std::string_view kBegin = "begin", kOwner = "owner", kStep = "step", kEnd = "end",
                           kLocked = "locked";

std::string checksum(std::string_view text) {
  Sha256 hash;
  hash.update(as_bytes(text));
  return to_hex(hash.finish()).substr(0, kIdDigits);
}

std::string line_of(std::string_view kind, std::string_view body) {
  std::string line = fmt::format("{} {} ", kind, body);
  line += checksum(line);
  return line += '\n';
}

// The kind and the body of a line without its line break; nothing if the checksum does not fit.
struct Line {
  std::string_view kind, body;
};
std::optional<Line> parse_line(std::string_view line) {
  const std::size_t last = line.rfind(' '), first = line.find(' ');
  if (last == std::string_view::npos || first == last) return std::nullopt;
  if (checksum(line.substr(0, last + 1)) != line.substr(last + 1)) return std::nullopt;
  return Line{line.substr(0, first), line.substr(first + 1, last - first - 1)};
}

}  // namespace

PartialRecord parse_record(std::string_view text) {
  PartialRecord record;
  for (std::size_t at = 0, end = 0; (end = text.find('\n', at)) != std::string_view::npos; at = end + 1) {
    const std::optional<Line> line = parse_line(text.substr(at, end - at));
    if (!line || (line->kind == kBegin) != (at == 0)) break;
    if (line->kind == kStep) record.steps.emplace_back(line->body);
    if (line->kind == kEnd) record.given_up = true;
    const std::vector<std::string_view> words = split(line->body, ' ');
    if (line->kind == kBegin && is_random_id(words.front())) {
      record.id = words.front();
      record.identity = line->body.substr(std::min(line->body.size(), record.id.size() + 1));
    }
    if (line->kind == kOwner && words.size() == 4) {
      record.owner = {std::string(words[0]), std::string(words[1]), std::string(words[2]),
                      words[3] == kLocked};
      record.given_up = false;
    }
  }
  return record;
}

std::string record_text(const PartialRecord& record) {
  const PartialOwner& owner = record.owner;
  std::string text = line_of(kBegin, record.id + ' ' + record.identity);
  text += line_of(kOwner, fmt::format("{} {} {} {}", owner.run, owner.boot, owner.host,
                                      owner.locked ? kLocked : "unlocked"));
  for (const std::string& step : record.steps) text += step_line(step);
  return text;
}

std::string step_line(std::string_view step) {
  return line_of(kStep, step);
}

std::string given_up_line() {
  return line_of(kEnd, "-");
}

std::string in_one_line(std::string_view text) {
  std::string line;
  for (const char c : text) {
    if (c == '\\')
      line += "\\\\";
    else if (c == '\n')
      line += "\\n";
    else
      line += c;
  }
  return line;
}

std::string random_id() {
  std::array<std::byte, kIdDigits / 2> bytes{};
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = ::getrandom(bytes.data() + done, bytes.size() - done, 0);
    if (got > 0) done += static_cast<std::size_t>(got);
    if (got < 0 && errno != EINTR) throw io_error("get random numbers", errno);
  }
  return to_hex(bytes);
}

bool is_random_id(std::string_view text) {
  return text.size() == kIdDigits && is_lower_hex(text);
}

}  // namespace mu
