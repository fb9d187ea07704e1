// SPDX-License-Identifier: Apache-2.0
// Encodings the protocol uses: percent, forms, base64, MD5 (ETags of S3), dates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace hub {

using Query = std::multimap<std::string, std::string>;

// Nothing when a % is not followed by two hex digits.
std::optional<std::string> percent_decode(std::string_view text, bool plus_is_blank = false);
std::string percent_encode(std::string_view text);  // all but A-Z a-z 0-9 - _ . ~
// "a=1&b=2", of a query or a form.
Query parse_query(std::string_view text);
std::string query_value(const Query& query, const std::string& name);  // the first, or ""
bool query_truth(const Query& query, const std::string& name);         // true, True or 1

// Standard alphabet, padded, nothing else between; nothing when it is not that.
std::optional<std::string> base64_decode(std::string_view text);
std::string base64_encode(std::string_view bytes);

std::string iso_date(std::uint64_t unix_seconds);   // 2026-01-01T00:00:00.000Z
std::string http_date(std::uint64_t unix_seconds);  // Thu, 01 Jan 2026 00:00:00 GMT
std::uint64_t now_ms();                             // since the epoch
std::string random_hex(std::size_t digits);

bool is_lower_hex(std::string_view text, std::size_t digits);
std::string sha256_hex(std::string_view text);
std::string lower(std::string_view ascii);

// MD5 (RFC 1321) of what comes in pieces.
class Md5 {
 public:
  Md5();
  ~Md5();
  Md5(const Md5&) = delete;
  Md5& operator=(const Md5&) = delete;
  void update(std::span<const std::byte> data);
  std::string finish_hex();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace hub
