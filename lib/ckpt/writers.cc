// SPDX-License-Identifier: Apache-2.0
#include "ckpt/writers.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "base/error.h"
#include "ckpt/walk.h"
#include "os/file.h"
#include "os/folder.h"

namespace mu {
namespace {

bool is_number(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

void note_path(std::vector<RunFacts>& runs, const std::vector<std::string>& real_paths, std::string_view path,
               const std::string& process) {
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const std::string& real = real_paths[i];
    if (real.empty() || path.size() <= real.size() + 1 || !path.starts_with(real) || path[real.size()] != '/')
      continue;
    const std::string_view inside = path.substr(real.size() + 1);
    const std::string_view name = inside.substr(0, inside.find('/'));
    for (CheckpointFacts& checkpoint : runs[i].checkpoints) {
      if (checkpoint.name == name) checkpoint.writer = process;
    }
  }
}

}  // namespace

void note_writers(std::vector<RunFacts>& runs, const std::vector<std::string>& real_paths) {
  const bool any =
      std::any_of(runs.begin(), runs.end(), [](const RunFacts& run) { return run.checkpoints.size() > 1; });
  const Fd proc(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!any || proc.get() < 0) return;
  const std::string self = std::to_string(::getpid());
  for (const auto& [process, type] : list_at(proc.get(), "/proc")) {
    if (!is_number(process) || process == self) continue;
    const Fd files(::openat(proc.get(), (process + "/fd").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (files.get() < 0) continue;  // ended, or not ours to see
    try {
      for (const auto& [number, link_type] : list_at(files.get(), "/proc")) {
        // The link's own permissions tell how the file was opened.
        struct stat status {};
        std::array<char, 4096> target{};
        if (::fstatat(files.get(), number.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
            (status.st_mode & S_IWUSR) == 0)
          continue;
        const ssize_t size = ::readlinkat(files.get(), number.c_str(), target.data(), target.size());
        if (size > 0) note_path(runs, real_paths, {target.data(), static_cast<std::size_t>(size)}, process);
      }
    } catch (const Error&) {
      continue;  // it ended meanwhile
    }
  }
}

}  // namespace mu
