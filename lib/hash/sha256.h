// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4) with the CPU's instructions, through OpenSSL.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace mu {

using Sha256Digest = std::array<std::byte, 32>;

class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  ~Sha256();

  void update(std::span<const std::byte> data);
  // The digest of all updates; the object can't be used after it.
  Sha256Digest finish();

  // Where it is, as text: the eight words, the number of bytes, and the block that is open, in hex. A later process
  // goes on from there.
  [[nodiscard]] std::string state() const;
  // Nothing for a text that state() did not make.
  static std::optional<Sha256> from_state(std::string_view text);
  [[nodiscard]] std::uint64_t bytes() const;  // of all updates

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string to_hex(std::span<const std::byte> bytes);  // lower case

}  // namespace mu
