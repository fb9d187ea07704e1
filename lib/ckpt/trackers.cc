// SPDX-License-Identifier: Apache-2.0
#include "ckpt/trackers.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"
#include "base/text.h"
#include "os/file.h"

namespace mu {
namespace {

constexpr std::uint64_t kMostText = 4096;  // bytes, as long as a path may be (PATH_MAX)

std::string_view without_extension(std::string_view name) {
  for (const std::string_view extension : {".ckpt", ".pt", ".pth", ".safetensors", ".bin"}) {
    if (name.ends_with(extension)) return name.substr(0, name.size() - extension.size());
  }
  return name;
}

}  // namespace

bool is_tracker_file(std::string_view name) {
  constexpr std::array<std::string_view, 4> kNames = {"latest", "latest_checkpointed_iteration.txt",
                                                      "latest_ckpt_global_step.txt", "last_checkpoint"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

bool names_the_last(std::string_view name) {
  name = without_extension(name);
  const std::size_t version = name.rfind("-v");
  if (version != std::string_view::npos && is_digits(name.substr(version + 2)))
    name = name.substr(0, version);
  for (const std::string_view word : {"last", "latest"}) {
    if (!name.ends_with(word)) continue;
    const std::string_view before = name.substr(0, name.size() - word.size());
    if (before.empty() || before.back() == '-' || before.back() == '_') return true;
  }
  return name == "last_checkpoint" || name == "latest_checkpoint" || name == "latest-checkpoint";
}

Tracker parse_tracker(std::string name, std::string_view text) {
  Tracker tracker;
  tracker.name = std::move(name);
  text = trim(text);
  while (text.size() > 1 && text.ends_with('/')) text.remove_suffix(1);
  tracker.says = text;
  if (text.find('/') != std::string_view::npos || text == "." || text == "..") return tracker;
  tracker.entry = text;
  std::uint64_t number = 0;
  if (is_digits(text) && std::from_chars(text.data(), text.data() + text.size(), number).ec == std::errc())
    tracker.number = number;
  return tracker;
}

std::optional<Tracker> read_tracker(int folder, const std::string& name) {
  Tracker tracker;
  tracker.name = name;
  tracker.says = "an unreadable text";
  Fd fd(::openat(folder, name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW));
  if (fd.get() < 0) return tracker;
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  try {
    const InputFile file = InputFile::adopt(std::move(fd), name);
    if (file.size() <= kMostText) {
      std::string text(static_cast<std::size_t>(file.size()), '\0');
      file.read_at(0, std::as_writable_bytes(std::span(text)));
      tracker = parse_tracker(name, text);
    }
  } catch (const Error&) {
    // It shrank, or its disk failed: what it names is not known.
  }
  tracker.changed_ns = stamp_of(status).mtime_ns;
  return tracker;
}

}  // namespace mu
