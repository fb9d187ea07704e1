// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4) with the CPU's instructions, through OpenSSL.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace mu {

using Sha256Digest = std::array<std::byte, 32>;

class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  ~Sha256();

  void update(std::span<const std::byte> data);
  // The digest of all updates; the object can't be used after it.
  Sha256Digest finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string to_hex(std::span<const std::byte> bytes);  // lower case

}  // namespace mu
