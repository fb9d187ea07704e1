// SPDX-License-Identifier: Apache-2.0
#include "pack/copy_gathered.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "hash/sha256.h"
#include "os/copy.h"
#include "os/far.h"
#include "os/interrupt.h"

namespace mu {

void copy_gathered(const InputFile& source, OutputFile& copy) {
  const FarFile* const far = source.far();
  if (far == nullptr) return copy_file(source, copy, {});
  constexpr std::uint64_t kPiece = 1U << 20;  // bytes
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min(kPiece, source.size())));
  Sha256 hash;
  for (std::uint64_t at = 0; at < source.size();) {
    check_interrupt();
    const std::span<std::byte> piece =
        std::span(buffer).first(static_cast<std::size_t>(std::min(kPiece, source.size() - at)));
    source.read_at(at, piece);
    hash.update(piece);
    copy.write_at(at, piece);
    at += piece.size();
  }
  if (far->sha256.empty()) return;
  if (const std::string found = to_hex(hash.finish()); found != far->sha256)
    throw Error(ErrorKind::kRemote,
                fmt::format("its SHA-256 is {}, where the hub says {}", found, far->sha256))
        .in_file(escape_name(source.path()))
        .hint("nothing was put in place; try again, or ask its owner");
}

}  // namespace mu
