// SPDX-License-Identifier: Apache-2.0
// Identities of files as git and the Hub know them: the object id of a blob (SHA-1 of "blob SIZE\0" and the
// bytes; Pro Git, "Git Internals - Git Objects"), and the pointer text that stands in git for a file kept in
// LFS (git-lfs: docs/spec.md). SHA-1 names things here; it protects nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace mu {

using Sha1Digest = std::array<std::byte, 20>;

// SHA-1 (FIPS 180-4) with the CPU's instructions, through OpenSSL.
class Sha1 {
 public:
  Sha1();
  Sha1(Sha1&&) noexcept;
  ~Sha1();

  void update(std::span<const std::byte> data);
  // The digest of all updates; the object can't be used after it.
  Sha1Digest finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// The id of a blob whose bytes come in pieces. The size is hashed before them, so it must be known.
class GitBlobId {
 public:
  explicit GitBlobId(std::uint64_t size_bytes);

  void update(std::span<const std::byte> data);
  // 40 hex digits. Throws kIo when the pieces were not `size_bytes` together; the object can't be used after
  // it.
  std::string finish();

 private:
  Sha1 hash_;
  std::uint64_t size_bytes_, seen_bytes_ = 0;
};

// The id, 40 hex digits, of a whole git object. `type` is "blob", "tree" or "commit".
std::string git_object_id(std::string_view type, std::span<const std::byte> body);

// The pointer of a file of `size_bytes` whose SHA-256 is `sha256_hex` (64 lower-case digits).
std::string lfs_pointer(std::string_view sha256_hex, std::uint64_t size_bytes);

}  // namespace mu
