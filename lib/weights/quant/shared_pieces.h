// SPDX-License-Identifier: Apache-2.0
// A source that is read in another order than it is stored in (a transposed view). Any stretch of it lies all over the
// file, and reading much at once costs little more than reading little. So the source is read in large pieces, each
// once, for all threads; a piece lives as long as a thread works on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "weights/gather.h"

namespace mu {

class SharedPieces {
 public:
  // Source number `which`, a matrix or several: pieces are whole rows of one of them, at most 4 MiB.
  SharedPieces(std::size_t which, const Tensor& source);

  // Fills `out` from byte `at` of the source. Thread safe.
  void read(const Sources& sources, std::uint64_t at, std::span<std::byte> out);

 private:
  using Piece = std::vector<std::byte>;
  std::shared_ptr<const Piece> piece(const Sources& sources, std::uint64_t begin, std::uint64_t size);

  std::size_t which_;
  std::uint64_t plane_, piece_;  // bytes of a matrix and of its pieces, of which the last may be shorter
  std::mutex mutex_;             // guards pieces_
  std::map<std::uint64_t, std::weak_ptr<const Piece>> pieces_;  // by their first byte
};

}  // namespace mu
