// SPDX-License-Identifier: Apache-2.0
// What the headers of an answer say about the range that it holds, and about the version of the file that the range is
// of. Pure. Source: RFC 9110, sections 8.8 (validators), 13.1.5 (If-Range), 14.4 (Content-Range).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "net/http.h"

namespace mu {

// "Content-Range: bytes 0-99/1000"
struct ContentRange {
  std::uint64_t begin = 0, end = 0, total = 0;  // `end` is one past the last byte
};
std::optional<ContentRange> parse_content_range(std::string_view text);

// Texts that change with the file.
struct Validators {
  std::string tag;       // strong entity tag, with its quotation marks; empty: none, or a weak one
  std::string modified;  // Last-Modified
  bool is_old = false;   // so long before the answer that a later change has another date

  // The text of If-Range; empty if none of them is good for it.
  [[nodiscard]] std::string if_range() const;
  // Whether an answer with `later` is of another version. Where one of the two says nothing, nothing is known.
  [[nodiscard]] bool differ(const Validators& later) const;
};
// `now` (Unix seconds) counts where a server does not say its time.
Validators validators_of(const HttpResponse& response, double now);

// An entity tag without its quotation marks and without the mark of a weak one: a hash, where a hub gives one.
std::string_view bare_tag(std::string_view tag);

}  // namespace mu
