// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/shared_pieces.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace mu {
namespace {

// What a thread read last stays: one piece of each of two sources.
void keep(const std::shared_ptr<const std::vector<std::byte>>& piece) {
  thread_local std::array<std::shared_ptr<const std::vector<std::byte>>, 2> latest;
  if (latest[0] == piece) return;
  if (latest[1] != piece) latest[1] = piece;
  std::swap(latest[0], latest[1]);
}

}  // namespace

SharedPieces::SharedPieces(std::size_t which, const Tensor& source) : which_(which) {
  constexpr std::uint64_t kMost = 4U << 20;
  const std::size_t dims = source.shape.size();
  const std::uint64_t rows = dims < 2 ? 1 : std::max<std::uint64_t>(1, source.shape[dims - 2]);
  const std::uint64_t row =
      std::max<std::uint64_t>(1, dims == 0 ? 1 : source.shape.back()) * bits(source.dtype) / 8;
  plane_ = rows * row;
  // Pieces of about the same size.
  const std::uint64_t pieces = std::max<std::uint64_t>(1, (plane_ + kMost - 1) / kMost);
  piece_ = std::min(kMost, (rows + pieces - 1) / pieces * row);
}

std::shared_ptr<const SharedPieces::Piece> SharedPieces::piece(const Sources& sources, std::uint64_t begin,
                                                               std::uint64_t size) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = pieces_.find(begin);
  if (found != pieces_.end()) {
    if (std::shared_ptr<const Piece> there = found->second.lock()) return there;
  }
  std::erase_if(pieces_, [](const auto& entry) { return entry.second.expired(); });
  auto made = std::make_shared<Piece>(static_cast<std::size_t>(size));
  sources.read(which_, begin, *made);
  pieces_[begin] = made;
  return made;
}

void SharedPieces::read(const Sources& sources, std::uint64_t at, std::span<std::byte> out) {
  while (!out.empty()) {
    const std::uint64_t in_plane = at % plane_, in_piece = in_plane % piece_;
    const std::shared_ptr<const Piece> from =
        piece(sources, at - in_piece, std::min(piece_, plane_ - (in_plane - in_piece)));
    keep(from);
    const std::size_t count = std::min(out.size(), from->size() - static_cast<std::size_t>(in_piece));
    std::memcpy(out.data(), from->data() + in_piece, count);
    out = out.subspan(count);
    at += count;
  }
}

}  // namespace mu
