// SPDX-License-Identifier: Apache-2.0
// Far bytes for a reader that goes on in about one order, as the writer of a stream does: reads ahead of it, in memory,
// over several connections. Nothing is kept on the disk.
#pragma once

#include <memory>
#include <vector>

#include "fetch/fetcher.h"
#include "fetch/ranges.h"

namespace mu {

class ReadAhead {
 public:
  // Begins at once. While it lives, read_far() of these bytes waits for them. What was used last is kept for some MiB,
  // so small things that are needed again and again (factors, scales) should come in the sequence before the large one
  // that they belong to. Bytes that are far ahead, or gone, are read on their own.
  ReadAhead(std::vector<FarRange> sequence, FetchOptions options);
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;
  ~ReadAhead();

  // Waits for the end, for the SHA-256 of what is read whole. Throws what the fetch threw.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mu
