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

// What lies below the folder; nothing for anything else.
std::string_view below(std::string_view path, std::string_view folder) {
  const bool inside = !folder.empty() && path.size() > folder.size() + 1 && path.starts_with(folder) &&
                      path[folder.size()] == '/';
  return inside ? path.substr(folder.size() + 1) : std::string_view();
}

// Kernel threads have no program, and often outnumber processes; one that is not ours to see shows neither
// its program nor its files.
bool has_program(int proc, const std::string& process) {
  char first = 0;
  return ::readlinkat(proc, (process + "/exe").c_str(), &first, 1) > 0;
}

}  // namespace

std::vector<Writer> find_writers(const std::vector<std::string>& folders) {
  std::vector<Writer> found;
  const Fd proc(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (proc.get() < 0) return found;
  const std::string self = std::to_string(::getpid());
  for (const auto& [process, type] : list_at(proc.get(), "/proc")) {
    if (!is_number(process) || process == self || !has_program(proc.get(), process)) continue;
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
        const std::string_view path(target.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
        if (std::any_of(folders.begin(), folders.end(),
                        [path](const std::string& folder) { return !below(path, folder).empty(); }))
          found.push_back({std::string(path), process});
      }
    } catch (const Error&) {
      continue;  // it ended meanwhile
    }
  }
  return found;
}

void note_writers(const std::vector<Writer>& writers, const std::vector<std::string>& real_paths,
                  std::vector<RunFacts>& runs) {
  for (const Writer& writer : writers) {
    for (std::size_t i = 0; i < runs.size(); ++i) {
      const std::string_view inside = below(writer.path, real_paths[i]);
      const std::string_view name = inside.substr(0, inside.find('/'));
      for (CheckpointFacts& checkpoint : runs[i].checkpoints) {
        if (checkpoint.name == name) checkpoint.writer = writer.process;
      }
    }
  }
}

}  // namespace mu
