// SPDX-License-Identifier: Apache-2.0
#include "ckpt/policy.h"

#include <sys/stat.h>

#include <cerrno>
#include <charconv>

#include "base/error.h"
#include "base/text.h"
#include "os/folder.h"

namespace mu {

Pin pin_of(std::string_view word) {
  while (word.size() > 1 && word.ends_with('/')) word.remove_suffix(1);
  Pin pin;
  std::uint64_t number = 0;
  const char* const end = word.data() + word.size();
  const std::from_chars_result parsed = std::from_chars(word.data(), end, number);
  if (parsed.ec == std::errc() && parsed.ptr == end)
    pin.number = number;
  else
    pin.name = base_name(word);
  return pin;
}

std::vector<Pin> parse_pin(const std::string& text) {
  const Pin alone = pin_of(text);
  if (alone.number) return {alone};
  struct stat status {};
  if (::stat(text.c_str(), &status) != 0) throw io_error("open the pin", errno, escape_name(text));
  if (S_ISDIR(status.st_mode)) return {{std::nullopt, "", FileId{status.st_dev, status.st_ino}}};
  constexpr std::uint64_t kMost = 1U << 20;  // bytes: far more names than one pins by hand
  // A checkpoint may be a file itself, and then it is pinned; a file this large is not a list.
  if (static_cast<std::uint64_t>(status.st_size) > kMost)
    return {{std::nullopt, "", FileId{status.st_dev, status.st_ino}}};
  std::vector<Pin> pins = {{std::nullopt, "", FileId{status.st_dev, status.st_ino}}};
  const std::string list = read_whole_file(text, kMost);
  for (const std::string_view line : split(list, '\n')) {
    const std::string_view word = trim(line.substr(0, line.find('#')));
    if (!word.empty()) pins.push_back(pin_of(word));
  }
  return pins;
}

}  // namespace mu
