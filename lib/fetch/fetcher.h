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
#include <span>
#include <vector>

#include "fetch/mark.h"
#include "fetch/ranges.h"

namespace mu {

constexpr std::uint64_t kMaxUnpassed = 40ULL << 20;  // bytes

struct FarBlock {
  std::size_t range = 0;     // which of the sequence it is cut from
  std::uint64_t offset = 0;  // in the file
  std::span<const std::byte> bytes;
};

struct FetchOptions {
  unsigned connections = 0;  // requests in flight; 0: 4 to 16, as latency and bandwidth ask for
  FetchMark from{};          // where an earlier run ended
  std::function<void(std::uint64_t bytes)>
      on_bytes{};  // called with what came, from several threads; may be empty
  std::function<void()>
      on_fault{};  // called when the first fault is noted: `take` and `passed` must not wait for
                   // anything any more; may be empty
};

// Cuts blocks at multiples of 16 bytes from the begin of their range, at most 6 MiB long, so that no element of a tensor
// that begins there is cut in two where its size divides 16. `take` is called from several threads, `passed` from one
// at a time, in order, and a last time with the mark of the end. Compares the SHA-256 of every file that is read whole
// and has one (kRemote, "SHA-256" in the message). The first fault of a block, of `take` or `passed` ends all and is
// thrown when what was taken before it has passed; Interrupted alike. Throws kMalformed if options.from is a mark of
// another sequence.
void fetch(const std::vector<FarRange>& sequence, const FetchOptions& options,
           const std::function<void(const FarBlock&)>& take,
           const std::function<void(const FetchMark&)>& passed);

}  // namespace mu
