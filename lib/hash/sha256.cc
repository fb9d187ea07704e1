// SPDX-License-Identifier: Apache-2.0
// OpenSSL 3 deprecates the functions below in favour of EVP. The first digest through EVP costs 0.6 ms of
// start-up, these cost nothing, and the code behind both is the same.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "hash/sha256.h"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <charconv>
#include <vector>

#include "base/text.h"
#include "hash/openssl_cpu.h"

namespace mu {

struct Sha256::Context {
  SHA256_CTX state;
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  find_hash_instructions();
  SHA256_Init(&context_->state);
}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> data) {
  SHA256_Update(&context_->state, data.data(), data.size());
}

Sha256Digest Sha256::finish() {
  Sha256Digest digest;
  SHA256_Final(reinterpret_cast<unsigned char*>(digest.data()), &context_->state);
  return digest;
}

std::uint64_t Sha256::bytes() const {
  return (std::uint64_t{context_->state.Nh} << 29U) | (context_->state.Nl >> 3U);
}

std::string Sha256::state() const {
  const SHA256_CTX& at = context_->state;
  std::string text;
  for (const SHA_LONG word : at.h) text += fmt::format("{:08x}", word);
  return text + fmt::format(":{}:", bytes()) + to_hex(std::as_bytes(std::span(at.data)).first(at.num));
}

std::optional<Sha256> Sha256::from_state(std::string_view text) {
  const std::vector<std::string_view> fields = split(text, ':');
  if (fields.size() != 3 || fields[0].size() != 64 || !is_lower_hex(fields[0]) ||
      !(fields[2].empty() || is_lower_hex(fields[2])))
    return std::nullopt;
  Sha256 hash;
  SHA256_CTX& at = hash.context_->state;
  const auto number = [](std::string_view digits, int base, auto& value) {
    const std::from_chars_result parsed =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    return parsed.ec == std::errc() && parsed.ptr == digits.data() + digits.size();
  };
  for (std::size_t i = 0; i < 8; ++i) {
    if (!number(fields[0].substr(i * 8, 8), 16, at.h[i])) return std::nullopt;
  }
  std::uint64_t bytes = 0;
  if (!number(fields[1], 10, bytes) || bytes >> 61U != 0 || fields[2].size() != bytes % SHA256_CBLOCK * 2)
    return std::nullopt;
  at.Nl = static_cast<SHA_LONG>(bytes << 3U);
  at.Nh = static_cast<SHA_LONG>(bytes >> 29U);
  at.num = static_cast<unsigned>(bytes % SHA256_CBLOCK);
  const auto block = std::as_writable_bytes(std::span(at.data));
  for (std::size_t i = 0; i < at.num; ++i) {
    unsigned char byte = 0;
    if (!number(fields[2].substr(i * 2, 2), 16, byte)) return std::nullopt;
    block[i] = std::byte{byte};
  }
  return hash;
}

std::string to_hex(std::span<const std::byte> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(bytes.size() * 2);
  for (const std::byte byte : bytes) {
    hex += kDigits[std::to_integer<unsigned>(byte) >> 4];
    hex += kDigits[std::to_integer<unsigned>(byte) & 15U];
  }
  return hex;
}

}  // namespace mu
