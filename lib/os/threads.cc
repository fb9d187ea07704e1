// SPDX-License-Identifier: Apache-2.0
#include "os/threads.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/text.h"
#include "os/interrupt.h"

namespace mu {
namespace {

// The first line of a small file of the kernel, or empty.
std::string first_line(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), &std::fclose);
  char line[256] = "";
  if (!file || std::fgets(line, sizeof line, file.get()) == nullptr) return "";
  return std::string(trim(line));
}

// 0 for "max" and anything else that is not a number.
double number_of(const std::string& text) {
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// How many processors a quota of microseconds in each period amounts to, or 0 for no limit.
double quota_of(const std::string& quota, const std::string& period) {
  const double used = number_of(quota), whole = number_of(period);
  return used > 0 && whole > 0 ? used / whole : 0;
}

// The tightest limit on the way from our control group to the root (version 2), or that of version 1.
double cgroup_processors() {
  double tightest = 0;
  const auto note = [&tightest](double limit) {
    if (limit > 0 && (tightest == 0 || limit < tightest)) tightest = limit;
  };
  std::string group = first_line("/proc/self/cgroup");
  if (group.starts_with("0::/")) {
    group = group.substr(3);
    while (true) {
      const std::string limit = first_line("/sys/fs/cgroup" + group + (group == "/" ? "" : "/") + "cpu.max");
      const std::size_t blank = limit.find(' ');
      if (blank != std::string::npos) note(quota_of(limit.substr(0, blank), limit.substr(blank + 1)));
      if (group == "/" || group.empty()) break;
      group = group.substr(0, std::max<std::size_t>(group.rfind('/'), 1));
    }
  }
  note(quota_of(first_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
                first_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us")));
  return tightest;
}

}  // namespace

unsigned default_thread_count() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  unsigned count = std::max(1U, std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0)
    count = static_cast<unsigned>(std::max(1, CPU_COUNT(&allowed)));
  if (const double quota = cgroup_processors(); quota > 0)
    count = std::min(count, static_cast<unsigned>(std::ceil(quota)));
  return std::max(1U, count);
}

void parallel_for(std::size_t count, unsigned threads, const std::function<void(std::size_t index)>& work) {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr first_failure;
  std::mutex failure_mutex;
  const auto run = [&] {
    while (!failed) {
      const std::size_t index = next.fetch_add(1);
      if (index >= count) return;
      try {
        check_interrupt();
        work(index);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(failure_mutex);
        if (!first_failure) first_failure = std::current_exception();
        failed = true;
      }
    }
  };
  std::vector<std::thread> helpers;
  const std::size_t wanted = std::min<std::size_t>(std::max(1U, threads), count);
  try {
    for (std::size_t i = 1; i < wanted; ++i) helpers.emplace_back(run);
  } catch (const std::system_error&) {  // no more threads can be started: fewer do the work
  }
  run();
  for (std::thread& helper : helpers) helper.join();
  if (first_failure) std::rethrow_exception(first_failure);
}

}  // namespace mu
