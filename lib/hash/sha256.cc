// SPDX-License-Identifier: Apache-2.0
// OpenSSL 3 deprecates the functions below in favour of EVP. The first digest through EVP costs 0.6 ms of
// start-up, these cost nothing, and the code behind both is the same.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "hash/sha256.h"

#include <openssl/sha.h>

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
Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> data) {
  SHA256_Update(&context_->state, data.data(), data.size());
}

Sha256Digest Sha256::finish() {
  Sha256Digest digest;
  SHA256_Final(reinterpret_cast<unsigned char*>(digest.data()), &context_->state);
  return digest;
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
