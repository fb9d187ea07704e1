// SPDX-License-Identifier: Apache-2.0
#define OPENSSL_SUPPRESS_DEPRECATED
#include "codec.h"

#include <fmt/format.h>
#include <openssl/md5.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <random>

#include "base/bytes.h"
#include "base/text.h"
#include "hash/sha256.h"

namespace hub {

namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string format_time(const char* format, std::uint64_t unix_seconds) {
  const std::time_t time = static_cast<std::time_t>(unix_seconds);
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[64];
  return {text, std::strftime(text, sizeof text, format, &parts)};
}

}  // namespace

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_blank) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = hex_value(text[i + 1]), low = hex_value(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      out += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      out += text[i] == '+' && plus_is_blank ? ' ' : text[i];
    }
  }
  return out;
}

std::string percent_encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       std::string_view("-_.~").find(c) != std::string_view::npos;
    if (plain) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

Query parse_query(std::string_view text) {
  Query query;
  for (const std::string_view pair : mu::split(text, '&')) {
    if (pair.empty()) continue;
    const std::size_t equals = pair.find('=');
    const std::string_view name = pair.substr(0, equals);
    const std::string_view value = equals == std::string_view::npos ? "" : pair.substr(equals + 1);
    query.emplace(percent_decode(name, true).value_or(std::string(name)),
                  percent_decode(value, true).value_or(std::string(value)));
  }
  return query;
}

std::string query_value(const Query& query, const std::string& name) {
  const auto at = query.find(name);
  return at == query.end() ? "" : at->second;
}

bool query_truth(const Query& query, const std::string& name) {
  const std::string value = query_value(query, name);
  return value == "true" || value == "True" || value == "1";
}

std::optional<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  static const auto kValues = [] {
    std::array<int, 256> values{};
    values.fill(-1);
    for (std::size_t i = 0; i < kBase64.size(); ++i)
      values[static_cast<unsigned char>(kBase64[i])] = static_cast<int>(i);
    return values;
  }();
  std::string out;
  out.reserve(text.size() / 4 * 3);
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool pad = i >= text.size() - padding;
    const int value = pad ? 0 : kValues[static_cast<unsigned char>(text[i])];
    if (value < 0) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    if (i % 4 == 3) {
      for (const int shift : {16, 8, 0}) out += static_cast<char>(bits >> shift & 0xFF);
      bits = 0;
    }
  }
  out.resize(out.size() - padding);
  return out;
}

std::string base64_encode(std::string_view bytes) {
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](std::size_t at) -> std::uint32_t {
      return at < bytes.size() ? static_cast<unsigned char>(bytes[at]) : 0;
    };
    const std::uint32_t bits = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    for (std::size_t k = 0; k < 4; ++k)
      out += i + k <= bytes.size() ? kBase64[bits >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::string iso_date(std::uint64_t unix_seconds) {
  return format_time("%Y-%m-%dT%H:%M:%S.000Z", unix_seconds);
}

std::string http_date(std::uint64_t unix_seconds) {
  return format_time("%a, %d %b %Y %H:%M:%S GMT", unix_seconds);
}

std::uint64_t now_ms() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
}

std::string random_hex(std::size_t digits) {
  thread_local std::mt19937_64 engine{std::random_device{}()};
  std::string out;
  while (out.size() < digits) out += fmt::format("{:016x}", engine());
  return out.substr(0, digits);
}

bool is_lower_hex(std::string_view text, std::size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string sha256_hex(std::string_view text) {
  mu::Sha256 hash;
  hash.update(mu::as_bytes(text));
  return mu::to_hex(hash.finish());
}

std::string lower(std::string_view ascii) {
  std::string out(ascii);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

struct Md5::Context {
  MD5_CTX state;
};

Md5::Md5() : context_(std::make_unique<Context>()) {
  MD5_Init(&context_->state);
}
Md5::~Md5() = default;

void Md5::update(std::span<const std::byte> data) {
  MD5_Update(&context_->state, data.data(), data.size());
}

std::string Md5::finish_hex() {
  std::array<std::byte, 16> digest;
  MD5_Final(reinterpret_cast<unsigned char*>(digest.data()), &context_->state);
  return mu::to_hex(digest);
}

}  // namespace hub
