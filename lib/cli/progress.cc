// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/sizes.h"

namespace mu {
namespace {

constexpr std::chrono::milliseconds kInterval{100};

void write_quietly(const std::string& text) {
  if (::write(STDERR_FILENO, text.data(), text.size()) < 0) return;
}

}  // namespace

Progress::Progress(std::string what, std::uint64_t total, bool shown)
    : what_(std::move(what)), total_(total), shown_(shown) {}

Progress::~Progress() {
  if (drawn_) write_quietly("\r\x1b[K");
}

void Progress::add(std::uint64_t bytes) {
  done_ += bytes;
  if (!shown_) return;
  const Clock::time_point now = Clock::now();
  const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  if (!lock || now - last_ < kInterval) return;
  draw(now);
}

void Progress::draw(Clock::time_point now) {
  last_ = now;
  drawn_ = true;
  const auto done = static_cast<double>(done_.load());
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = seconds > 0 ? done / seconds : 0;
  const double share = total_ > 0 ? std::min(1.0, done / static_cast<double>(total_)) : 0;
  const double left = rate > 0 ? (static_cast<double>(total_) - done) / rate : 0;
  write_quietly(fmt::format("\r\x1b[K{} {:3.0f} %  {} of {}  {}/s  {:.0f} s left", what_, share * 100,
                            format_size(done_.load()), format_size(total_),
                            format_size(static_cast<std::uint64_t>(rate)), std::max(0.0, left)));
}

}  // namespace mu
