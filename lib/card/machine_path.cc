// SPDX-License-Identifier: Apache-2.0
#include "card/machine_path.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace mu {
namespace {

bool is_path_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("_-.+~@%").find(c) != std::string_view::npos;
}

bool is_windows_character(char c) {
  return is_path_character(c) || c == '$' || static_cast<unsigned char>(c) >= 0x80;
}

// The length of what `is_part` accepts at the start.
template <typename IsPart>
std::size_t run(std::string_view text, IsPart is_part) {
  return static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), is_part) - text.begin());
}

bool is_backslash(char c) {
  return c == '\\';
}

// "C:\name", or with the backslash doubled as programs write it. "D:\" alone is a drive, also before a full stop.
bool is_drive_path(std::string_view text) {
  if (text.size() < 3 || std::isalpha(static_cast<unsigned char>(text[0])) == 0 || text[1] != ':')
    return false;
  text.remove_prefix(2);
  const std::size_t slashes = run(text, is_backslash);
  const std::string_view name = text.substr(slashes, run(text.substr(slashes), is_windows_character));
  return slashes > 0 && name.find_first_not_of('.') != std::string_view::npos;
}

// "\\server\share", or all doubled. A formula's "\\frac\pi{2}" goes on with a brace or a power.
bool is_network_path(std::string_view text) {
  const std::size_t slashes = run(text, is_backslash);
  if (slashes != 2 && slashes != 4) return false;
  const std::string_view server = text.substr(slashes);
  const std::size_t size = run(server, is_windows_character);
  const std::string_view rest = server.substr(size);
  if (size < 2 || run(rest, is_backslash) != slashes / 2) return false;
  const std::string_view share = rest.substr(slashes / 2);
  const std::size_t end = run(share, is_windows_character);
  return end > 0 &&
         (end == share.size() || std::string_view("{^").find(share[end]) == std::string_view::npos);
}

// "kg", "m2", "s-1", a part of "/kg/m^3".
bool is_unit(std::string_view name) {
  while (!name.empty() && std::string_view("0123456789-").find(name.back()) != std::string_view::npos)
    name.remove_suffix(1);
  constexpr std::array<std::string_view, 49> kUnits = {
      "m",   "mm", "cm", "km", "um",  "nm",  "g",     "mg",   "ug",     "kg", "t",    "s",   "ms",
      "us",  "ns", "h",  "hr", "min", "day", "d",     "week", "month",  "yr", "year", "mol", "mmol",
      "L",   "l",  "mL", "ml", "dL",  "dl",  "K",     "J",    "kJ",     "W",  "kW",   "kWh", "Pa",
      "kPa", "eV", "Hz", "GB", "MB",  "GPU", "token", "step", "sample", "A"};
  return std::find(kUnits.begin(), kUnits.end(), name) != kUnits.end();
}

// A path below a folder that people work in, or any absolute path of two names and more, but for those that mean the
// same on every machine and paths of web interfaces.
bool is_unix_path(std::string_view text) {
  if (text.size() < 2 || text[0] != '/' || !is_path_character(text[1])) return false;
  for (const std::string_view root : {"/home/", "/root/", "/Users/", "/mnt/", "/tmp/"}) {
    if (text.starts_with(root)) return true;
  }
  bool units = true;
  std::size_t names = 0, end = 0;
  while (end + 1 < text.size() && text[end] == '/' && is_path_character(text[end + 1])) {
    const std::string_view name = text.substr(end + 1, run(text.substr(end + 1), is_path_character));
    // "/path/to/model" stands for a path, "/r/name" for a page.
    constexpr std::array<std::string_view, 16> kEverywhere = {"usr", "bin",  "etc",  "dev", "proc", "sys",
                                                              "lib", "run",  "sbin", "api", "v1",   "v2",
                                                              "v3",  "path", "r",    "u"};
    if (names == 0 && std::find(kEverywhere.begin(), kEverywhere.end(), name) != kEverywhere.end())
      return false;
    units = units && is_unit(name);
    ++names;
    end += 1 + name.size();
  }
  const bool power = end < text.size() && text[end] == '^';
  return names > 1 && !units && !power;
}

}  // namespace

bool has_machine_path(std::string_view line) {
  for (std::size_t at = line.find_first_of("/\\"); at != std::string_view::npos;
       at = line.find_first_of("/\\", at + 1)) {
    // Of "C:\x" the path begins two characters before.
    const bool drive = line[at] == '\\' && at >= 2 && line[at - 1] == ':';
    const std::size_t begin = drive ? at - 2 : at;
    const std::string_view text = line.substr(begin), before = line.substr(0, begin);
    // This comes first, so that no path is read once for each of its names.
    if (!before.empty() && !before.ends_with("file://") &&
        std::string_view(" \t\"'`([=:,;").find(before.back()) == std::string_view::npos)
      continue;
    if (!is_unix_path(text) && !is_drive_path(text) && !is_network_path(text)) continue;
    // The address in "[text](/page)" or <a href="/page"> is one of the website.
    constexpr std::array<std::string_view, 5> kAddresses = {"](", "href=\"", "src=\"", "href='", "src='"};
    if (std::none_of(kAddresses.begin(), kAddresses.end(),
                     [before](std::string_view address) { return before.ends_with(address); }))
      return true;
  }
  return false;
}

}  // namespace mu
