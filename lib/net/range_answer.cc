// SPDX-License-Identifier: Apache-2.0
#include "net/range_answer.h"

#include <algorithm>

#include "base/decimal.h"
#include "base/text.h"
#include "net/retry.h"

namespace mu {
namespace {

// The text of a header; nothing of one that could not be sent back as it is.
std::string header_or_none(const HttpResponse& response, std::string_view name) {
  constexpr std::size_t kLongest = 1024;  // bytes
  const std::string* const found = response.header(name);
  if (found == nullptr || found->size() > kLongest) return "";
  const bool is_plain =
      std::none_of(found->begin(), found->end(), [](unsigned char c) { return c < ' ' || c == 0x7F; });
  return is_plain ? *found : "";
}

}  // namespace

std::optional<ContentRange> parse_content_range(std::string_view text) {
  if (lower_ascii(text.substr(0, 6)) != "bytes ") return std::nullopt;
  text.remove_prefix(6);
  const std::size_t dash = text.find('-'), slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || slash < dash) return std::nullopt;
  const std::optional<std::uint64_t> begin = parse_decimal(trim(text.substr(0, dash))),
                                     last = parse_decimal(trim(text.substr(dash + 1, slash - dash - 1))),
                                     total = parse_decimal(trim(text.substr(slash + 1)));
  if (!begin || !last || !total || *begin > *last || *last >= *total) return std::nullopt;
  return ContentRange{*begin, *last + 1, *total};
}

std::string Validators::if_range() const {
  return !tag.empty() ? tag : is_old ? modified : "";
}

bool Validators::differ(const Validators& later) const {
  if (!tag.empty() && !later.tag.empty()) return tag != later.tag;
  return !modified.empty() && !later.modified.empty() && modified != later.modified;
}

Validators validators_of(const HttpResponse& response, double now) {
  constexpr double kClocksDiffer = 60;  // seconds
  Validators found;
  const std::string tag = header_or_none(response, "etag");
  if (tag.size() >= 2 && tag.starts_with('"') && tag.ends_with('"')) found.tag = tag;
  found.modified = header_or_none(response, "last-modified");
  const std::optional<double> modified = parse_http_date(found.modified),
                              date = parse_http_date(header_or_none(response, "date"));
  found.is_old = modified && date.value_or(now - kClocksDiffer) >= *modified + 1;
  return found;
}

std::string_view bare_tag(std::string_view tag) {
  if (tag.starts_with("W/")) tag.remove_prefix(2);
  if (tag.size() >= 2 && tag.starts_with('"') && tag.ends_with('"')) tag = tag.substr(1, tag.size() - 2);
  return tag;
}

}  // namespace mu
