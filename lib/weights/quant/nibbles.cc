// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/nibbles.h"

#include <algorithm>

#include "weights/quant/floats.h"

namespace mu {

void NibbleTable::read_run(const std::byte* packed, bool second, float scale, std::span<float> out) const {
  const auto pair = [this, &packed] { return pairs_[std::to_integer<std::size_t>(*packed++)]; };
  if (second && !out.empty()) {
    out.front() = pair()[1] * scale;
    out = out.subspan(1);
  }
  for (std::size_t i = 0; i + 1 < out.size(); i += 2) {
    const Pair values = pair();
    out[i] = values[0] * scale;
    out[i + 1] = values[1] * scale;
  }
  if (out.size() % 2 != 0) out.back() = pair()[0] * scale;
}

void NibbleTable::read(std::span<const std::byte> packed, std::uint64_t first, std::span<const float> scales,
                       std::uint64_t block, std::span<float> out) const {
  const std::uint64_t first_byte = first / 2, first_block = first / block;
  while (!out.empty()) {
    const auto here = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), block - first % block));
    read_run(packed.data() + (first / 2 - first_byte), first % 2 != 0,
             scales[static_cast<std::size_t>(first / block - first_block)], out.first(here));
    out = out.subspan(here);
    first += here;
  }
}

void read_nibbles(const Sources& sources, std::size_t which, const NibbleTable& table, std::uint64_t first,
                  std::span<const float> scales, std::uint64_t block, std::span<float> out) {
  const std::uint64_t begin = first / 2, end = (first + out.size() + 1) / 2;
  table.read(read_bytes(sources, which, begin, static_cast<std::size_t>(end - begin)), first, scales, block,
             out);
}

}  // namespace mu
