// SPDX-License-Identifier: Apache-2.0
#include "net/url.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>

#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

bool is_unreserved(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.' || c == '~';
}

std::string encode(std::string_view text, bool keep_slash) {
  std::string out;
  for (const char c : text) {
    if (is_unreserved(c) || (keep_slash && c == '/')) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

unsigned parse_port(std::string_view text) {
  unsigned port = 0;
  const std::from_chars_result parsed = std::from_chars(text.data(), text.data() + text.size(), port);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || port == 0 || port > 65535)
    throw malformed("'" + escape_name(text) + "' is not a port");
  return port;
}

}  // namespace

Url parse_url(std::string_view text) {
  const auto fail = [text](std::string_view why) {
    return malformed(fmt::format("'{}' is not a URL: {}", printable_url(text), why));
  };
  if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return c <= ' ' || c == 0x7F; }))
    throw fail("it contains blanks or control characters");
  const std::size_t colon = text.find("://");
  if (colon == std::string_view::npos) throw fail("it does not start with https://");
  Url url;
  url.scheme = lower_ascii(text.substr(0, colon));
  if (url.scheme != "http" && url.scheme != "https") throw fail("it is neither http nor https");
  std::string_view rest = text.substr(colon + 3);
  const std::size_t end = std::min(rest.find_first_of("/?#"), rest.size());
  std::string_view authority = rest.substr(0, end);
  rest.remove_prefix(end);
  rest = rest.substr(0, rest.find('#'));
  if (authority.find('@') != std::string_view::npos)
    throw fail("user names and passwords don't belong in it");
  const std::size_t bracket = authority.rfind(']');
  const std::size_t port_colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  url.host = lower_ascii(authority.substr(0, port_colon));
  url.port = url.scheme == "https" ? 443 : 80;
  if (port_colon != std::string_view::npos && port_colon + 1 < authority.size())
    url.port = parse_port(authority.substr(port_colon + 1));
  if (url.host.empty()) throw fail("it has no host");
  const bool plain = std::all_of(url.host.begin(), url.host.end(),
                                 [](char c) { return is_unreserved(c) || c == '[' || c == ']' || c == ':'; });
  if (!plain) throw fail("its host is not a name or address");
  url.target = rest.starts_with('/') ? std::string(rest) : "/" + std::string(rest);
  return url;
}

std::string origin(const Url& url) {
  const bool usual = url.port == (url.scheme == "https" ? 443U : 80U);
  return url.scheme + "://" + url.host + (usual ? "" : ":" + std::to_string(url.port));
}

bool same_origin(std::string_view a, std::string_view b) {
  return origin(parse_url(a)) == origin(parse_url(b));
}

bool is_loopback(const Url& url) {
  if (url.host == "localhost" || url.host == "[::1]") return true;
  // Only an address in digits counts: a name such as 127.0.0.1.example.org may lead anywhere.
  const bool numeric = std::all_of(url.host.begin(), url.host.end(),
                                   [](unsigned char c) { return std::isdigit(c) != 0 || c == '.'; });
  return numeric && url.host.starts_with("127.") && std::count(url.host.begin(), url.host.end(), '.') == 3;
}

std::string percent_encode(std::string_view text) {
  return encode(text, false);
}

std::string percent_encode_path(std::string_view path) {
  return encode(path, true);
}

std::string percent_decode(std::string_view text) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escaped =
        text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0;
    out += escaped ? static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2])) : text[i];
    if (escaped) i += 2;
  }
  return out;
}

std::string resolve_location(std::string_view base, std::string_view location) {
  if (location.find("://") != std::string_view::npos) return std::string(location);
  const Url from = parse_url(base);
  if (location.starts_with("//")) return from.scheme + ":" + std::string(location);
  if (location.starts_with('/')) return origin(from) + std::string(location);
  const std::string path = from.target.substr(0, from.target.find('?'));
  return origin(from) + path.substr(0, path.rfind('/') + 1) + std::string(location);
}

std::string printable_url(std::string_view url) {
  std::string shown;
  if (const std::size_t scheme = url.find("://"); scheme != std::string_view::npos) {
    const std::size_t begin = scheme + 3, end = std::min(url.find_first_of("/?#", begin), url.size());
    const std::size_t at = url.substr(0, end).rfind('@');
    if (at != std::string_view::npos && at >= begin) {
      shown = escape_name(url.substr(0, begin)) + "…";
      url.remove_prefix(at);
    }
  }
  const std::size_t query = url.find('?');
  return shown + escape_name(url.substr(0, query)) + (query == std::string_view::npos ? "" : "?…");
}

}  // namespace mu
