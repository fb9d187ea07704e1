// SPDX-License-Identifier: Apache-2.0
// One line on stderr: per cent, bytes, rate, time left. Drawn at most ten times a second and wiped at the end,
// by an error or a signal too, since both unwind.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace mu {

// The line after `seconds` with `done` of `total` bytes; a total of 0 means that it is not known.
// `read` bytes came over the network; 0 is not said. `before` of `done` were there at the begin, from an earlier run.
std::string progress_text(std::string_view what, std::uint64_t done, std::uint64_t total, double seconds,
                          std::uint64_t read = 0, std::uint64_t before = 0);

class Progress {
 public:
  // `total` bytes are expected (0: not known). Nothing is ever drawn unless `shown`. `what` is printed
  // unescaped.
  Progress(std::string what, std::uint64_t total, bool shown);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();

  // Of `total`, so many bytes are there from an earlier run. Called before the others.
  void begin_at(std::uint64_t bytes);
  // From any thread, both.
  void add(std::uint64_t bytes);
  void add_read(std::uint64_t bytes);  // that came over the network

 private:
  void draw();

  using Clock = std::chrono::steady_clock;
  std::string what_;
  std::uint64_t total_, before_ = 0;
  bool shown_;
  std::atomic<std::uint64_t> done_{0}, read_{0};
  Clock::time_point start_ = Clock::now();
  std::mutex mutex_;  // guards last_
  Clock::time_point last_ = start_;
};

}  // namespace mu
