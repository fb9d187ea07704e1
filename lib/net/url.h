// SPDX-License-Identifier: Apache-2.0
// URLs (RFC 3986) as far as a client of a hub needs them: where they lead, how names are quoted in them, and
// how they are printed without secrets.
#pragma once

#include <string>
#include <string_view>

namespace mu {

struct Url {
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case; IPv6 in brackets
  unsigned port = 0;   // the scheme's default if none is written
  std::string target;  // path and query, starting with '/'
};

// Takes absolute http and https URLs without user names or control characters. Throws kMalformed for others.
Url parse_url(std::string_view text);

// "https://hub.example" or "http://localhost:8080": what a token may be sent to.
std::string origin(const Url& url);
bool same_origin(std::string_view a, std::string_view b);

// True for localhost, 127.0.0.0/8 and [::1].
bool is_loopback(const Url& url);

// Every byte except A-Z a-z 0-9 - _ . ~ becomes %XX, "/" too.
std::string percent_encode(std::string_view text);
// The same, but "/" stays.
std::string percent_encode_path(std::string_view path);

// %XX becomes the byte it stands for; any other "%" stays.
std::string percent_decode(std::string_view text);

// Where a Location header leads from `base`: an absolute URL, or a path on the same origin.
std::string resolve_location(std::string_view base, std::string_view location);

// The URL, escaped, with its query (which may be a signature), user name and password masked.
std::string printable_url(std::string_view url);

}  // namespace mu
