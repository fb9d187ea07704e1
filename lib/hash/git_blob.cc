// SPDX-License-Identifier: Apache-2.0
// sha256.cc says why the deprecated functions are used.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "hash/git_blob.h"

#include <fmt/format.h>
#include <openssl/sha.h>

#include "base/bytes.h"
#include "base/error.h"
#include "hash/openssl_cpu.h"
#include "hash/sha256.h"

namespace mu {

struct Sha1::Context {
  SHA_CTX state;
};

Sha1::Sha1() : context_(std::make_unique<Context>()) {
  find_hash_instructions();
  SHA1_Init(&context_->state);
}
Sha1::Sha1(Sha1&&) noexcept = default;
Sha1::~Sha1() = default;

void Sha1::update(std::span<const std::byte> data) {
  SHA1_Update(&context_->state, data.data(), data.size());
}

Sha1Digest Sha1::finish() {
  Sha1Digest digest;
  SHA1_Final(reinterpret_cast<unsigned char*>(digest.data()), &context_->state);
  return digest;
}

namespace {

Sha1 begin_object(std::string_view type, std::uint64_t size_bytes) {
  Sha1 hash;
  std::string header = fmt::format("{} {}", type, size_bytes);
  header += '\0';
  hash.update(as_bytes(header));
  return hash;
}

}  // namespace

GitBlobId::GitBlobId(std::uint64_t size_bytes)
    : hash_(begin_object("blob", size_bytes)), size_bytes_(size_bytes) {}

void GitBlobId::update(std::span<const std::byte> data) {
  hash_.update(data);
  seen_bytes_ += data.size();
}

std::string GitBlobId::finish() {
  if (seen_bytes_ != size_bytes_) {
    throw Error(ErrorKind::kIo, fmt::format("{} bytes were read, not {}", seen_bytes_, size_bytes_));
  }
  return to_hex(hash_.finish());
}

std::string git_object_id(std::string_view type, std::span<const std::byte> body) {
  Sha1 hash = begin_object(type, body.size());
  hash.update(body);
  return to_hex(hash.finish());
}

std::string lfs_pointer(std::string_view sha256_hex, std::uint64_t size_bytes) {
  return fmt::format("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n", sha256_hex,
                     size_bytes);
}

}  // namespace mu
