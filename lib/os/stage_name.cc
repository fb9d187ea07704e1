// SPDX-License-Identifier: Apache-2.0
#include "os/stage_name.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <iterator>
#include <memory>
#include <vector>

#include "base/text.h"

namespace mu {
namespace {

constexpr std::size_t kLongestTarget = 100;  // bytes, of names that need not be whole
constexpr std::size_t kLongestName = 255;    // bytes; NAME_MAX of Linux
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

// "ns4026531836" by the inode of our PID namespace; "ns0" where the system doesn't say.
std::string pid_namespace() {
  struct stat status {};
  const bool known = ::stat("/proc/self/ns/pid", &status) == 0;
  return fmt::format("ns{}", known ? status.st_ino : 0);
}

std::optional<std::uint64_t> parse_hex(std::string_view text) {
  std::uint64_t value = 0;
  const std::from_chars_result parsed = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

// Reads "DEVICE-INODE".
std::optional<FileId> parse_id(std::string_view text) {
  const std::size_t dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const std::optional<std::uint64_t> device = parse_hex(text.substr(0, dash));
  const std::optional<std::uint64_t> inode = parse_hex(text.substr(dash + 1));
  if (!device || !inode) return std::nullopt;
  return FileId{static_cast<dev_t>(*device), static_cast<ino_t>(*inode)};
}

struct OwnerFields {
  std::string_view host, boot, space, pid, start;  // 0.1: no space
  std::optional<FileId> judged{};
};

std::optional<OwnerFields> parse_owner(std::string_view text) {
  const std::vector<std::string_view> fields = split(text, '.');
  OwnerFields owner;
  if (fields.size() == 4) {
    owner = {fields[0], fields[1], "", fields[2], fields[3]};
  } else if (fields.size() == 5 || fields.size() == 6) {
    owner = {fields[0], fields[1], fields[2], fields[3], fields[4]};
    if (!owner.space.starts_with("ns") || !is_digits(owner.space.substr(2))) return std::nullopt;
    if (fields.size() == 6 && !(owner.judged = parse_id(fields[5]))) return std::nullopt;
  } else {
    return std::nullopt;
  }
  owner.pid = owner.pid.substr(0, owner.pid.find('+'));
  return is_digits(owner.pid) ? std::optional(owner) : std::nullopt;
}

// 0.1 gave up what it deleted under the lock of its folder, and containers see the same lock: for such names,
// and only for them, the owner is believed without a namespace.
StageOwner judge_owner(const OwnerFields& owner, StageKind kind) {
  const bool same_space =
      owner.space.empty() ? kind == StageKind::kGone : owner.space == pid_namespace() && owner.space != "ns0";
  if (owner.host != this_host() || !same_space) return StageOwner::kElsewhere;
  const bool alive = owner.boot == this_boot() && owner.start != "0" && start_time(owner.pid) == owner.start;
  return alive ? StageOwner::kAlive : StageOwner::kEnded;
}

}  // namespace

std::string this_host() {
  std::array<char, 65> name{};
  ::gethostname(name.data(), name.size() - 1);
  return plain(name.data());
}

std::string this_boot() {
  return plain(read_line("/proc/sys/kernel/random/boot_id").substr(0, 8));
}

std::string stage_name(std::string_view target, StageKind kind, std::optional<FileId> judged) {
  // Two stages of one target in one process (a test, a library user) must not meet.
  static std::atomic<unsigned> serial{0};
  const unsigned number = serial++;
  const std::string suffix = number == 0 ? "" : fmt::format("+{}", number + 1);
  const std::string pid = std::to_string(::getpid());
  std::string owner = fmt::format("{}{}.{}.{}.{}{}.{}", kMarks[static_cast<unsigned>(kind)], this_host(),
                                  this_boot(), pid_namespace(), pid, suffix, start_time(pid));
  if (judged) owner += fmt::format(".{:x}-{:x}", judged->device, judged->inode);
  // What may have to be put back must be found by its whole name.
  if (kind == StageKind::kStage) target = target.substr(0, kLongestTarget);
  if (kind == StageKind::kGone)
    target = target.substr(0, kLongestName - std::min(kLongestName, owner.size() + 1));
  return fmt::format(".{}{}", target, owner);
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
  if (at == std::string_view::npos || at == 0) return std::nullopt;
  const std::optional<OwnerFields> owner =
      parse_owner(name.substr(at + kMarks[static_cast<unsigned>(kind)].size()));
  if (!owner) return std::nullopt;
  return StageName{std::string(name.substr(1, at - 1)), kind, judge_owner(*owner, kind), owner->judged};
}

}  // namespace mu
