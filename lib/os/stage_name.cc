// SPDX-License-Identifier: Apache-2.0
#include "os/stage_name.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <iterator>
#include <memory>
#include <vector>

#include "base/text.h"

namespace mu {
namespace {

constexpr std::size_t kLongestTarget = 100;  // bytes
constexpr std::string_view kMarks[] = {".mu-stage.", ".mu-aside.", ".mu-gone."};

std::string read_line(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), &std::fclose);
  std::array<char, 1024> line{};
  if (!file || std::fgets(line.data(), line.size(), file.get()) == nullptr) return "";
  return std::string(trim(line.data()));
}

// Letters, digits and dashes only, so that dots can separate.
std::string plain(std::string text) {
  std::replace_if(
      text.begin(), text.end(),
      [](char c) { return c == '.' || c == '/' || static_cast<unsigned char>(c) <= ' '; }, '-');
  return text.empty() ? "unknown" : text;
}

std::string host() {
  std::array<char, 65> name{};
  ::gethostname(name.data(), name.size() - 1);
  return plain(name.data());
}

std::string boot_id() {
  return plain(read_line("/proc/sys/kernel/random/boot_id").substr(0, 8));
}

// Field 22 of /proc/PID/stat, clock ticks since boot; the command in field 2 may hold anything, so count from
// its closing bracket. "0" when there is no such process.
std::string start_time(std::string_view pid) {
  const std::string stat = read_line(fmt::format("/proc/{}/stat", pid));
  const std::size_t bracket = stat.rfind(')');
  if (bracket == std::string::npos) return "0";
  const std::vector<std::string_view> fields =
      split(std::string_view(stat).substr(std::min(bracket + 2, stat.size())), ' ');
  constexpr std::size_t kStartTime = 22 - 3;
  return fields.size() > kStartTime ? std::string(fields[kStartTime]) : "0";
}

}  // namespace

std::string stage_name(std::string_view target, StageKind kind) {
  const std::string pid = std::to_string(::getpid());
  // Two stages of one target in one process (a test, a library user) must not meet.
  static unsigned serial = 0;
  const std::string suffix = serial++ == 0 ? "" : fmt::format("+{}", serial);
  // A name has 255 bytes at most. Only one that was renamed aside must be found again by its whole name.
  if (kind != StageKind::kAside) target = target.substr(0, kLongestTarget);
  return fmt::format(".{}{}{}.{}.{}{}.{}", target, kMarks[static_cast<unsigned>(kind)], host(), boot_id(),
                     pid, suffix, start_time(pid));
}

std::optional<StageName> parse_stage_name(std::string_view name) {
  if (!name.starts_with('.')) return std::nullopt;
  // The last mark is ours; a target may be called anything.
  std::size_t at = std::string_view::npos;
  auto kind = StageKind::kStage;
  for (unsigned i = 0; i < std::size(kMarks); ++i) {
    const std::size_t found = name.rfind(kMarks[i]);
    if (found == std::string_view::npos || (at != std::string_view::npos && found < at)) continue;
    at = found;
    kind = static_cast<StageKind>(i);
  }
  if (at == std::string_view::npos) return std::nullopt;
  const std::vector<std::string_view> owner =
      split(name.substr(at + kMarks[static_cast<unsigned>(kind)].size()), '.');
  if (owner.size() != 4 || at == 0) return std::nullopt;
  const std::string_view pid = owner[2].substr(0, owner[2].find('+'));
  if (pid.empty() || !std::all_of(pid.begin(), pid.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return std::nullopt;
  const bool same_host = owner[0] == host();
  const bool alive = same_host && owner[1] == boot_id() && owner[3] != "0" && start_time(pid) == owner[3];
  return StageName{std::string(name.substr(1, at - 1)), kind, same_host, alive};
}

}  // namespace mu
