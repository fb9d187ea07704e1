// SPDX-License-Identifier: Apache-2.0
// How far the reading of a sequence of ranges (fetcher.h) has come, so that another process can go on from there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace mu {

// All of the sequence before byte `at` of range `range` has passed. `at` is less than the size of the range; the
// mark of the end is behind the last range.
struct FetchMark {
  std::size_t range = 0;
  std::uint64_t at = 0;  // bytes into the range
  std::map<std::size_t, std::string>
      hashes{};  // Sha256::state() of files that are begun and not done, by the
                 // first of their ranges

  bool operator==(const FetchMark&) const = default;
  [[nodiscard]] std::string text() const;                   // one line of JSON
  static std::optional<FetchMark> parse(std::string_view);  // nothing for any other text
};

}  // namespace mu
