// SPDX-License-Identifier: Apache-2.0
// Far bytes for a reader that goes on in one order, as the writer of a stream does: reads ahead of it, in memory,
// over several connections. Nothing is kept on the disk.
#pragma once

#include <memory>
#include <vector>

#include "fetch/fetcher.h"
#include "fetch/ranges.h"

namespace mu {

class ReadAhead {
 public:
  // Begins at once. While it lives, read_far() of these bytes waits for them; a range is dropped when all of it was
  // read. Bytes that are asked for out of order are fetched on their own.
  ReadAhead(std::vector<FarRange> sequence, const FetchOptions& options);
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;
  ~ReadAhead();

  // Waits for the end. Throws what the fetch threw: a SHA-256 that is another, for one.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mu
