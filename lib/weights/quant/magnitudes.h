// SPDX-License-Identifier: Apache-2.0
// What scales are made of, where that costs a pass over more than the stretch that is read: found once, and kept no
// longer than memory allows.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "weights/gather.h"

namespace mu {

// The largest magnitudes of blocks, by weight and strip. A file has all scales before all codes, so that the blocks of
// a whole shard are worth keeping. Thread safe; the strips that were found first are forgotten first.
class MagnitudeCache {
 public:
  using Values = std::shared_ptr<const std::vector<float>>;

  std::uint64_t number_of_weight() { return next_++; }  // of another one each time

  // `find` runs in one thread at a time for a strip; if it throws, so does this, and the next caller tries again.
  Values get(std::uint64_t weight, std::uint64_t strip, const std::function<std::vector<float>()>& find);

 private:
  struct Entry {
    std::mutex mutex;
    Values values;
  };
  using Key = std::pair<std::uint64_t, std::uint64_t>;

  std::shared_ptr<Entry> entry(const Key& key);
  void keep(const Key& key, std::size_t count);

  std::atomic<std::uint64_t> next_ = 0;
  std::mutex mutex_;
  std::map<Key, std::shared_ptr<Entry>> entries_;
  std::deque<std::pair<Key, std::size_t>> order_;  // with the number of values
  std::size_t kept_ = 0;                           // values in all
};

// The largest magnitude of several weights together. Whoever needs it first begins, and all who come meanwhile help,
// so that no thread waits for more than the last pieces.
class SharedMagnitude {
 public:
  // `sources` are the weights, the same in every call. Throws kMalformed for NaN and infinities.
  float get(const Sources& sources, std::size_t count);

 private:
  struct Piece {
    std::size_t source;
    std::uint64_t at, size;  // bytes
  };
  void begin(const Sources& sources, std::size_t count);

  std::mutex mutex_;
  std::condition_variable finished_;
  bool begun_ = false;
  std::vector<Piece> pieces_;
  std::size_t next_ = 0, done_ = 0;
  float largest_ = 0;
  std::exception_ptr fault_;
};

}  // namespace mu
