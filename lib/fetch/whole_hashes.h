// SPDX-License-Identifier: Apache-2.0
// SHA-256 of the files that a sequence of ranges reads whole, in file order, several of them open at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "fetch/mark.h"
#include "fetch/ranges.h"
#include "hash/sha256.h"

namespace mu {

class WholeHashes {
 public:
  // Borrows the sequence. Goes on from `mark`; throws kMalformed for one of another sequence.
  WholeHashes(const std::vector<FarRange>& sequence, const FetchMark& mark);

  // Whether the file of this range is hashed: its SHA-256 is known, and the ranges of the sequence have all of it
  // in order, besides FarFile::start.
  [[nodiscard]] bool wants(std::size_t range) const;
  // Takes the bytes of the sequence in its order, of wanted ranges, and brings `mark.hashes` up to date.
  // Throws kRemote at the end of a file that has another SHA-256.
  void update(std::size_t range, std::uint64_t at, std::span<const std::byte> bytes, FetchMark& mark);

 private:
  struct File {
    std::size_t first = 0, last = 0;  // ranges that begin and end it
    std::uint64_t done = 0;           // bytes that are hashed; 0: not begun
    Sha256 hash{};
  };

  void find_whole_files();
  void go_on_from(const FetchMark& mark);

  const std::vector<FarRange>& sequence_;
  std::map<const FarFile*, File> files_;
};

}  // namespace mu
