// SPDX-License-Identifier: Apache-2.0
#include "weights/digest.h"

#include <algorithm>

#include "base/bytes.h"
#include "hash/sha256.h"
#include "os/interrupt.h"

namespace mu {
namespace {

constexpr std::uint64_t kPiece = 1U << 20;

// Feeds `size` bytes to a hash.
void update_from(Sha256& hash, std::uint64_t size, const ReadBytes& read) {
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min(kPiece, size)));
  for (std::uint64_t at = 0; at < size; at += kPiece) {
    check_interrupt();
    const std::span<std::byte> piece =
        std::span(buffer).first(static_cast<std::size_t>(std::min(kPiece, size - at)));
    read(at, piece);
    hash.update(piece);
  }
}

}  // namespace

std::string tensor_hash(std::string_view type, const std::vector<std::uint64_t>& shape, std::uint64_t size,
                        const ReadBytes& read) {
  std::string prefix(type);
  prefix += '\0';
  for (std::size_t i = 0; i < shape.size(); ++i) prefix += (i > 0 ? "," : "") + std::to_string(shape[i]);
  prefix += '\0';
  Sha256 hash;
  hash.update(as_bytes(prefix));
  update_from(hash, size, read);
  return to_hex(hash.finish());
}

std::string content_digest(std::vector<std::pair<std::string, std::string>> hashes) {
  std::sort(hashes.begin(), hashes.end());
  Sha256 digest;
  digest.update(as_bytes("st-content-1\n"));
  for (const auto& [name, hash] : hashes) digest.update(as_bytes(name + '\t' + hash + '\n'));
  return to_hex(digest.finish());
}

std::string file_hash(const InputFile& file, const std::function<void(std::uint64_t)>& on_bytes) {
  Sha256 hash;
  update_from(hash, file.size(), [&](std::uint64_t at, std::span<std::byte> out) {
    file.read_at(at, out);
    on_bytes(out.size());
  });
  return to_hex(hash.finish());
}

}  // namespace mu
