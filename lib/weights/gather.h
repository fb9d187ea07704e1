// SPDX-License-Identifier: Apache-2.0
// Reads a stretch of a tensor that has a layout (layout.h), row-major and little-endian, in memory that does
// not depend on the tensor.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "tensor/cast.h"
#include "weights/layout.h"

namespace mu {

// Fills `out` from byte `offset` of file `source`.
using ReadSource = std::function<void(std::uint32_t source, std::uint64_t offset, std::span<std::byte> out)>;

// What a computed tensor is made of: Layout::tensors, and where their bytes come from.
class Sources {
 public:
  // Borrows all. `losses` may be null.
  Sources(const std::vector<Tensor>& tensors, const ReadSource& read, CastReport* losses = nullptr)
      : tensors_(tensors), read_(read), losses_(losses) {}

  [[nodiscard]] const Tensor& operator[](std::size_t which) const { return tensors_[which]; }

  // Fills `out` from byte `at` of a source.
  void read(std::size_t which, std::uint64_t at, std::span<std::byte> out) const;

  // Where to count values that are lost when they are rounded to the type of the computed tensor; null: nobody asks.
  [[nodiscard]] CastReport* losses() const { return losses_; }

  // The same for a pass that only looks at values: what they lose is counted where they are written.
  [[nodiscard]] Sources only_looked_at() const { return {tensors_, read_}; }

 private:
  const std::vector<Tensor>& tensors_;
  const ReadSource& read_;
  CastReport* losses_;
};

constexpr std::uint64_t kGatherWindow = 1U << 20;  // bytes of the source read at once
constexpr std::uint64_t kGatherUsefulPart = 32;    // one wanted byte in so many still beats a read of its own

// Fills `out` from byte `at` of the tensor. Adds to `losses` what computed tensors lose. Thread safe when `read` is.
void gather(const Tensor& tensor, std::uint64_t at, std::span<std::byte> out, const ReadSource& read,
            CastReport* losses = nullptr);

}  // namespace mu
