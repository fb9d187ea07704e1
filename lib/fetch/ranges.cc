// SPDX-License-Identifier: Apache-2.0
#include "fetch/ranges.h"

namespace mu {

std::uint64_t bytes_of(const std::vector<FarRange>& ranges) {
  std::uint64_t bytes = 0;
  for (const FarRange& range : ranges) bytes += range.size;
  return bytes;
}

}  // namespace mu
