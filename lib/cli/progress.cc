// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/sizes.h"
#include "cli/console.h"

namespace mu {
namespace {

constexpr std::chrono::milliseconds kInterval{100};

// "8 s", "2:05 min", "3:02 h".
std::string duration_text(double seconds) {
  constexpr double kTooLong = 1000 * 3600.0;
  if (!(seconds < kTooLong)) return "long";
  const auto whole = static_cast<std::uint64_t>(std::llround(std::max(0.0, seconds)));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}:{:02} min", whole / 60, whole % 60);
  return fmt::format("{}:{:02} h", whole / 3600, whole / 60 % 60);
}

}  // namespace

std::string progress_text(std::string_view what, std::uint64_t done, std::uint64_t total, double seconds,
                          std::uint64_t read, std::uint64_t before) {
  const double rate = seconds > 0 ? static_cast<double>(done - before) / seconds : 0;
  const std::string speed = format_size(static_cast<std::uint64_t>(rate)) + "/s";
  const std::string network = read > 0 ? "  " + format_size(read) + " read" : "";
  if (total == 0) return fmt::format("{}  {}  {}{}", what, format_size(done), speed, network);
  done = std::min(done, total);
  const double fraction = static_cast<double>(done) / static_cast<double>(total);
  const std::string left =
      rate > 0 ? "  " + duration_text(static_cast<double>(total - done) / rate) + " left" : "";
  return fmt::format("{} {:3.0f} %  {} of {}  {}{}{}", what, fraction * 100, format_size(done),
                     format_size(total), speed, left, network);
}

Progress::Progress(std::string what, std::uint64_t total, bool shown)
    : what_(std::move(what)), total_(total), shown_(shown) {}

Progress::~Progress() {
  if (shown_) clear_status();
}

void Progress::begin_at(std::uint64_t bytes) {
  before_ = bytes;
  done_ = bytes;
}

void Progress::add(std::uint64_t bytes) {
  done_ += bytes;
  draw();
}

void Progress::add_read(std::uint64_t bytes) {
  read_ += bytes;
  draw();
}

void Progress::draw() {
  if (!shown_) return;
  const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  const Clock::time_point now = Clock::now();
  if (!lock || now - last_ < kInterval) return;
  last_ = now;
  draw_status(progress_text(what_, done_, total_, std::chrono::duration<double>(now - start_).count(), read_,
                            before_));
}

}  // namespace mu
