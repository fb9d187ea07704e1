// SPDX-License-Identifier: Apache-2.0
// One line on stderr: share, bytes, rate, time left. Drawn at most ten times a second and wiped at the end.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

namespace mu {

class Progress {
 public:
  // `total` bytes are to come; nothing is ever drawn unless `shown`.
  Progress(std::string what, std::uint64_t total, bool shown);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();

  void add(std::uint64_t bytes);  // from any thread

 private:
  using Clock = std::chrono::steady_clock;
  void draw(Clock::time_point now);

  std::string what_;
  std::uint64_t total_;
  bool shown_;
  std::atomic<std::uint64_t> done_{0};
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
  bool drawn_ = false;
  std::mutex mutex_;
};

}  // namespace mu
