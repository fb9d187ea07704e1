// SPDX-License-Identifier: Apache-2.0
// Reads ranges of far files once, in order, over several connections, and hashes on the way what is read whole.
//
// Blocks come in any order; take() gets each as soon as it is there. Behind them goes a mark: all before it has been
// taken, and is part of the SHA-256 of its file. passed() gets the mark as it moves on. It makes what was taken
// durable and writes the mark down, so that another process can go on from there. It runs in a thread of its own while
// blocks go on coming. At most kMaxUnpassed bytes are under way: requested, taken, or waiting for passed().
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fetch/ranges.h"

namespace mu {

constexpr std::uint64_t kMaxUnpassed = 40ULL << 20;  // bytes

struct FarBlock {
  std::size_t range = 0;     // which of the sequence it is cut from
  std::uint64_t offset = 0;  // in the file
  std::span<const std::byte> bytes;
};

// All of the sequence before byte `at` of range `range` has passed.
struct FetchMark {
  std::size_t range = 0;
  std::uint64_t at = 0;  // bytes into the range
  std::map<std::size_t, std::string>
      hashes{};  // Sha256::state() of files that are begun and not done, by the first
                 // of their ranges

  [[nodiscard]] std::string text() const;                   // one line of JSON
  static std::optional<FetchMark> parse(std::string_view);  // nothing for any other text
};

struct FetchOptions {
  unsigned connections = 0;  // requests in flight; 0: 4 to 16, as latency and bandwidth ask for
  FetchMark from{};          // where an earlier run ended
  std::function<void(std::uint64_t bytes)>
      on_bytes{};  // called with what came, from several threads; may be empty
};

// Cuts blocks at multiples of 16 bytes from the begin of their range, 1 to 8 MiB long, so that no element of a tensor
// that begins there is cut in two where its size divides 16. `take` is called from several threads, `passed` from one
// at a time, in order, and a last time at the end. Compares the SHA-256 of every file that is read whole and has one
// (kRemote, "SHA-256" in the message). The first fault of a block, of `take` or `passed` ends all and is thrown when
// what was taken before it has passed; Interrupted alike.
void fetch(const std::vector<FarRange>& sequence, const FetchOptions& options,
           const std::function<void(const FarBlock&)>& take,
           const std::function<void(const FetchMark&)>& passed);

// How many requests should be in flight: pure, from what the last ones were like.
struct FetchPace {
  unsigned connections;      // now
  double first_byte_s;       // mean wait for the first byte of an answer
  double whole_s;            // mean time of a request
  double rate, rate_before;  // bytes a second now, and with fewer connections; 0: not known
};
unsigned next_connections(const FetchPace& pace);

}  // namespace mu
