// SPDX-License-Identifier: Apache-2.0
#include "ckpt/runs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <limits>
#include <set>

#include "base/text.h"
#include "ckpt/walk.h"
#include "model/roles.h"
#include "os/folder.h"
#include "os/mounts.h"

namespace mu {
namespace {

constexpr std::string_view kPrefix = "checkpoint-";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

std::optional<std::uint64_t> parse_step(std::string_view digits) {
  std::uint64_t value = 0;
  const std::from_chars_result parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();
  if (parsed.ec != std::errc() || value > kMost) return std::nullopt;
  return value;
}

// The digits that follow the last `word` in a name, with at most one of "=_-" between.
std::optional<std::uint64_t> number_after(std::string_view name, std::string_view word) {
  for (std::size_t at = name.rfind(word); at != std::string_view::npos;
       at = at == 0 ? std::string_view::npos : name.rfind(word, at - 1)) {
    std::string_view rest = name.substr(at + word.size());
    if (!rest.empty() && (rest.front() == '=' || rest.front() == '_' || rest.front() == '-'))
      rest.remove_prefix(1);
    if (!rest.empty() && is_digit(rest.front())) return parse_step(rest);
  }
  return std::nullopt;
}

bool has_word(std::string_view name, std::initializer_list<std::string_view> words) {
  const std::string lower = lower_ascii(name);
  const auto is_word = [&lower](std::string_view word) {
    const auto is_letter = [&lower](std::size_t at) {
      return at < lower.size() && lower[at] >= 'a' && lower[at] <= 'z';
    };
    const std::size_t at = lower.find(word);
    return at != std::string::npos && !is_letter(at - 1) && !is_letter(at + word.size());
  };
  return std::any_of(words.begin(), words.end(), is_word);
}

// The name says which checkpoint it is, not when it was saved: "checkpoint_best.pt", "last-v1.ckpt".
bool says_which(std::string_view name) {
  return has_word(name, {"best", "last", "latest", "final"});
}

// The last number of a name that may count something: not the one in ".h5" or "mp4", in "7b", or in "0.25".
std::optional<std::uint64_t> last_number(std::string_view name) {
  const auto is_letter = [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; };
  if (const std::size_t dot = name.rfind('.');
      dot != std::string_view::npos && dot + 1 < name.size() && dot > 0 && is_letter(name[dot + 1]))
    name = name.substr(0, dot);
  for (std::size_t end = name.size(); end > 0;) {
    if (!is_digit(name[end - 1])) {
      --end;
      continue;
    }
    std::size_t begin = end;
    while (begin > 0 && is_digit(name[begin - 1])) --begin;
    const bool is_fraction = begin > 1 && name[begin - 1] == '.' && is_digit(name[begin - 2]);
    const bool is_whole_part = end + 1 < name.size() && name[end] == '.' && is_digit(name[end + 1]);
    const bool is_measure = end < name.size() && is_letter(name[end]);
    if (!is_fraction && !is_whole_part && !is_measure) return parse_step(name.substr(begin, end - begin));
    end = begin;
  }
  return std::nullopt;
}

Fd open_folder(const std::string& path) {
  return Fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

// A path that we may not look at is not missing.
bool is_missing(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) != 0 && (errno == ENOENT || errno == ENOTDIR);
}

class Finder {
 public:
  Finder(const CheckpointNames& names, std::optional<FileId> passed_by)
      : names_(names), passed_by_(passed_by) {}

  void add(const std::string& path, Fd fd, bool recursive, int depth) {
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) throw io_error("look at", errno, escape_name(path));
    const FileId id{status.st_dev, status.st_ino};
    if (!recursive) {
      take(path, std::move(fd), id);
      return;
    }
    bool is_run = false;
    for (const auto& [name, type] : list_at(fd.get(), path)) {
      const bool is_folder = is_folder_at(fd.get(), name, type);
      if (names_.matches(name, is_folder)) {
        is_run = true;
      } else if (is_folder && !name.starts_with('.') && depth < kMaxDepth) {
        descend(fd.get(), name, join_path(path, name), status.st_dev, depth);
      }
    }
    if (is_run) take(path, std::move(fd), id);
  }

  FoundRuns found;

 private:
  static constexpr int kMaxDepth = 32;  // bounds recursion and open descriptors, as in walk.cc

  static bool is_folder_at(int folder, const std::string& name, unsigned char type) {
    if (type != DT_UNKNOWN) return type == DT_DIR;
    struct stat status {};
    return ::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
  }

  void descend(int parent, const std::string& name, const std::string& path, dev_t device, int depth) {
    Fd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (fd.get() < 0) {
      if (errno != ENOENT) found.failures.push_back(io_error("open", errno, escape_name(path)));
      return;
    }
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0 || status.st_dev != device || is_mount_root(fd.get())) return;
    if (passed_by_ == FileId{status.st_dev, status.st_ino}) return;
    add(path, std::move(fd), true, depth + 1);
  }

  void take(const std::string& path, Fd fd, FileId id) {
    if (seen_.insert(id).second) found.runs.push_back({path, std::move(fd), id});
  }

  const CheckpointNames& names_;
  const std::optional<FileId> passed_by_;
  std::set<FileId> seen_;
};

std::optional<FileId> id_of(const std::optional<std::string>& path) {
  struct stat status {};
  if (!path || ::stat(path->c_str(), &status) != 0) return std::nullopt;
  return FileId{status.st_dev, status.st_ino};
}

// All runs are held open at the same time.
void allow_many_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

bool says_best(std::string_view name) {
  return has_word(name, {"best"});
}

CheckpointNames::CheckpointNames(const std::string& pattern) : pattern_(pattern) {
  const bool has_literal = std::any_of(pattern.begin(), pattern.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0;
  });
  if (!has_literal)
    throw usage("--pattern '" + escape_name(pattern) + "' would take every file of a run for a checkpoint")
        .hint("spell out what their names have in common, such as 'step_*'");
}

bool CheckpointNames::matches(std::string_view name, bool is_folder) const {
  if (!pattern_)
    return is_folder && role_of(name, true) == FileRole::kCheckpoint && number_of(name).has_value();
  return !name.starts_with('.') && !name.starts_with("torn-") && name != "KEEP" && pattern_->matches(name);
}

std::optional<std::uint64_t> CheckpointNames::number_of(std::string_view name) const {
  if (!pattern_) return name.starts_with(kPrefix) ? parse_step(name.substr(kPrefix.size())) : std::nullopt;
  for (const std::string_view word : {"step", "epoch", "iter"}) {
    if (const std::optional<std::uint64_t> number = number_after(name, word)) return number;
  }
  return says_which(name) ? std::nullopt : last_number(name);
}

FoundRuns find_runs(const std::vector<std::string>& operands, bool recursive, const CheckpointNames& names,
                    const std::optional<std::string>& passed_by) {
  allow_many_files();
  Finder finder(names, id_of(passed_by));
  for (const std::string& operand : operands) {
    Fd fd = open_folder(operand);
    if (fd.get() < 0) {
      Error error = io_error("open", errno, escape_name(operand));
      (is_missing(operand) ? finder.found.missing : finder.found.failures).push_back(std::move(error));
      continue;
    }
    const std::string_view trimmed = std::string_view(operand).substr(0, operand.find_last_not_of('/') + 1);
    if (!names.is_by_pattern() && names.matches(base_name(trimmed), true) &&
        ::faccessat(fd.get(), "trainer_state.json", F_OK, 0) == 0)
      throw usage("is a checkpoint").in_file(escape_name(operand)).hint("name the run folder that holds it");
    try {
      const std::size_t before = finder.found.runs.size();
      finder.add(operand, std::move(fd), recursive, 0);
      if (recursive && finder.found.runs.size() == before)
        finder.found.barren.push_back({operand, open_folder(operand), {}});
    } catch (const Error& error) {
      finder.found.failures.push_back(error);
    }
  }
  return std::move(finder.found);
}

void lock_run(const RunFolder& run) {
  if (::flock(run.fd.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  throw Error(ErrorKind::kTemporary, "another ckpt-prune is running here").in_file(escape_name(run.path));
}

}  // namespace mu
