// SPDX-License-Identifier: Apache-2.0
// Far files in memory for tests, whose answers can be held back to force an order, or fail.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "hash/sha256.h"
#include "os/far.h"

namespace mu::testing {

inline std::string random_text(std::size_t size, unsigned seed) {
  std::string text(size + sizeof(std::uint64_t), '\0');
  std::uint64_t state = seed;
  for (std::size_t at = 0; at < size; at += sizeof state) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    std::memcpy(text.data() + at, &state, sizeof state);
  }
  text.resize(size);
  return text;
}

inline std::string sha256_of(std::string_view text) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(text)));
  return to_hex(hash.finish());
}

// What is asked of the far files of a test, in the order in which requests come.
struct Requests {
  struct One {
    const FarFile* file;
    std::uint64_t offset, size;
  };
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<One> all;
  unsigned under_way = 0, most = 0;
  // Called with the number of the request, outside the lock, before it is answered; may wait, may throw.
  std::function<void(std::size_t)> before_answer{};

  // Waits until `ready` of these fields is true; false if that does not come.
  template <typename Ready>
  bool wait(const Ready& ready, std::chrono::milliseconds limit = std::chrono::seconds(20)) {
    std::unique_lock<std::mutex> lock(mutex);
    return changed.wait_for(lock, limit, ready);
  }
  [[nodiscard]] std::uint64_t bytes() {
    const std::lock_guard<std::mutex> lock(mutex);
    return std::accumulate(all.begin(), all.end(), std::uint64_t{0},
                           [](std::uint64_t sum, const One& one) { return sum + one.size; });
  }

  // A request that is under way.
  class Answer {
   public:
    Answer(Requests& requests, const One& one) : requests_(requests) {
      std::size_t number = 0;
      {
        const std::lock_guard<std::mutex> lock(requests_.mutex);
        number = requests_.all.size();
        requests_.all.push_back(one);
        requests_.most = std::max(requests_.most, ++requests_.under_way);
      }
      requests_.changed.notify_all();
      if (!requests_.before_answer) return;
      try {
        requests_.before_answer(number);
      } catch (...) {
        end();
        throw;
      }
    }
    ~Answer() { end(); }
    Answer(const Answer&) = delete;
    Answer& operator=(const Answer&) = delete;

   private:
    void end() {
      const std::lock_guard<std::mutex> lock(requests_.mutex);
      --requests_.under_way;
    }
    Requests& requests_;
  };
};

// A far file with this content. Borrows `requests`, and must not be moved.
struct TestFile : FarFile {
  TestFile(std::string name_to_show, std::string content, Requests& requests, std::size_t start_size = 0)
      : text(std::move(content)) {
    size = text.size();
    name = std::move(name_to_show);
    sha256 = sha256_of(text);
    start = std::string_view(text).substr(0, start_size);
    read = [this, &requests](std::uint64_t offset, std::span<std::byte> out) {
      const Requests::Answer answer(requests, {this, offset, out.size()});
      std::memcpy(out.data(), text.data() + offset, out.size());
    };
  }
  TestFile(const TestFile&) = delete;
  TestFile& operator=(const TestFile&) = delete;

  [[nodiscard]] FarRange range(std::uint64_t offset, std::uint64_t bytes) const {
    return {this, offset, bytes};
  }
  [[nodiscard]] FarRange all() const { return range(start.size(), size - start.size()); }

  std::string text;
};

}  // namespace mu::testing
