// SPDX-License-Identifier: Apache-2.0
// Far files in memory for tests, whose answers can be held back to force an order, or fail.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "hash/sha256.h"
#include "os/far.h"

namespace mu::testing {

inline std::string random_text(std::size_t size, unsigned seed) {
  std::string text(size, '\0');
  std::uint32_t state = seed * 2654435761U + 1;
  for (char& c : text) {
    state = state * 1664525U + 1013904223U;
    c = static_cast<char>(state >> 24U);
  }
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
  std::function<void(std::size_t)> before_answer = [](std::size_t) {};

  // Waits until `count` requests have come.
  void wait_for(std::size_t count) {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return all.size() >= count; });
  }
  std::uint64_t bytes() {
    const std::lock_guard<std::mutex> lock(mutex);
    std::uint64_t sum = 0;
    for (const One& one : all) sum += one.size;
    return sum;
  }
};

// A far file with this content. It lives as long as `requests`, which it borrows, and must not be moved.
struct TestFile {
  TestFile(std::string name, std::string content, Requests& requests, std::size_t start = 0)
      : text(std::move(content)) {
    far.size = text.size();
    far.name = std::move(name);
    far.sha256 = sha256_of(text);
    far.start = std::string_view(text).substr(0, start);
    far.read = [this, &requests](std::uint64_t offset, std::span<std::byte> out) {
      std::size_t number = 0;
      {
        const std::lock_guard<std::mutex> lock(requests.mutex);
        number = requests.all.size();
        requests.all.push_back({&far, offset, out.size()});
        requests.most = std::max(requests.most, ++requests.under_way);
      }
      requests.changed.notify_all();
      const auto end = [&] {
        const std::lock_guard<std::mutex> lock(requests.mutex);
        --requests.under_way;
      };
      try {
        requests.before_answer(number);
      } catch (...) {
        end();
        throw;
      }
      std::memcpy(out.data(), text.data() + offset, out.size());
      end();
    };
  }
  TestFile(const TestFile&) = delete;
  TestFile& operator=(const TestFile&) = delete;

  [[nodiscard]] FarRange range(std::uint64_t offset, std::uint64_t size) const {
    return {&far, offset, size};
  }
  [[nodiscard]] FarRange all() const { return range(far.start.size(), text.size() - far.start.size()); }

  std::string text;
  FarFile far;
};

}  // namespace mu::testing
