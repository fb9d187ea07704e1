// SPDX-License-Identifier: Apache-2.0
#include "model/links.h"

#include <algorithm>
#include <cctype>

#include "base/text.h"
#include "model/hf_cache.h"
#include "os/folder.h"

namespace mu {
namespace {

// Characters that HFS+ leaves out when it compares names.
bool is_unseen(char32_t c) {
  return (c >= 0x200C && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) || (c >= 0x206A && c <= 0x206F) ||
         c == 0xFEFF;
}

}  // namespace

std::optional<std::string> leads_out(const std::string& real_folder, const std::string& path) {
  std::string real = resolved_path(path);
  const std::string root = real_folder == "/" ? "" : real_folder;
  if (!real.starts_with(root + "/"))
    return is_cache_blob(real) ? std::nullopt : std::optional(std::move(real));
  for (const std::string_view part : split(std::string_view(real).substr(root.size() + 1), '/')) {
    if (is_reserved_name(part)) return is_cache_blob(real) ? std::nullopt : std::optional(std::move(real));
  }
  return std::nullopt;
}

bool lies_in(const std::string& folder, const std::string& path) {
  std::string above = path;
  while (!is_in_reach(above) && parent_of(above) != above) above = parent_of(above);
  const std::string root = resolved_path(folder), place = resolved_path(above);
  return place == root || place.starts_with(root == "/" ? root : root + "/");
}

bool is_text_start(std::string_view start) {
  return start.starts_with("\xFF\xFE") || start.starts_with("\xFE\xFF") ||
         start.find('\0') == std::string_view::npos;
}

bool is_reserved_name(std::string_view name) {
  std::string seen;
  for (std::size_t i = 0; i < name.size();) {
    const CodePoint c = decode_utf8(name, i);
    if (!is_unseen(c.value)) seen.append(name, i, c.size);
    i += c.size;
  }
  seen = lower_ascii(seen);
  if (seen == ".cache") return true;
  if (const std::size_t stream = seen.find(':'); stream != std::string::npos) seen.resize(stream);
  while (seen.ends_with(' ') || seen.ends_with('.')) seen.pop_back();
  return seen == ".git" || seen == "git~1";
}

}  // namespace mu
