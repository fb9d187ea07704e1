// SPDX-License-Identifier: Apache-2.0
#include "ckpt/execute.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <set>

#include "base/text.h"
#include "ckpt/completeness.h"
#include "ckpt/trash.h"
#include "ckpt/walk.h"
#include "os/folder.h"
#include "os/interrupt.h"
#include "os/remove_tree.h"
#include "os/stage_name.h"
#include "os/threads.h"

namespace mu {
namespace {

// In the hidden folder that takes the entries of a checkpoint being slimmed: its mtime is the checkpoint's,
// to be put back. The Trainer deletes the oldest by mtime, and slimming would make this one the newest.
constexpr const char* kJournal = ".folder-mtime";

Fd open_folder_at(int parent, const std::string& name) {
  return Fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

// Makes names durable. Some network file systems can't sync a folder and say so.
void sync_at(int folder, const std::string& path) {
  if (::fsync(folder) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EBADF)
    throw io_error("write to the disk", errno, escape_name(path));
}

// renameat2 without replacing; the test and the rename of file systems that lack it leave a gap that only an
// equally named empty folder could fall into.
bool rename_new_at(int from_folder, const std::string& from, int to_folder, const std::string& to) {
  if (::renameat2(from_folder, from.c_str(), to_folder, to.c_str(), RENAME_NOREPLACE) == 0) return true;
  if (errno != EINVAL && errno != ENOSYS) return false;
  if (::faccessat(to_folder, to.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
    errno = EEXIST;
    return false;
  }
  return ::renameat(from_folder, from.c_str(), to_folder, to.c_str()) == 0;
}

timespec to_timespec(std::int64_t ns) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  const std::int64_t seconds = ns / kSecond - (ns % kSecond < 0 ? 1 : 0);
  return {static_cast<time_t>(seconds), static_cast<long>(ns - seconds * kSecond)};
}

void set_mtime(int fd, std::int64_t mtime_ns, const std::string& path) {
  const timespec times[2] = {{0, UTIME_OMIT}, to_timespec(mtime_ns)};
  if (::futimens(fd, times) != 0) throw io_error("set the time", errno, escape_name(path));
}

class Executor {
 public:
  Executor(const RunFolder& folder, const RunFacts& run, const RunPlan& plan, const ExecuteOptions& options)
      : fd_(folder.fd.get()), path_(folder.path), run_(run), plan_(plan), options_(options) {}

  Outcome execute() {
    for (const Leftover& leftover : run_.leftovers) attempt([&] { finish(leftover); });
    for (std::size_t i = 0; i < plan_.items.size() && !stopped_; ++i) {
      check_interrupt();
      if (plan_.items[i].verb != Verb::kKeep) attempt([&] { act(i); });
    }
    try {
      if (renamed_) sync_at(fd_, path_);
      unlink_all();
    } catch (const Error& error) {
      outcome_.failures.push_back(error);  // names that may not last: delete nothing
    }
    return std::move(outcome_);
  }

 private:
  struct Doomed {
    std::string name;  // hidden, in the run folder
    std::uint64_t bytes;
  };

  template <typename Action>
  void attempt(Action action) {
    try {
      action();
    } catch (const Error& error) {
      outcome_.failures.push_back(error);
    }
  }

  std::string path_of(const std::string& name) const { return join_path(path_, name); }

  // Nothing: it has vanished. Throws kTemporary when it is no longer what was planned for.
  bool is_unchanged(std::size_t i) {
    const CheckpointFacts& facts = run_.checkpoints[i];
    const auto changed = [&] {
      return Error(ErrorKind::kTemporary, "changed since it was looked at: left alone")
          .in_file(escape_name(path_of(facts.name)));
    };
    struct stat status {};
    if (::fstatat(fd_, facts.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return false;
      throw io_error("look at", errno, escape_name(path_of(facts.name)));
    }
    // One that was being slimmed when its run was killed has just been changed by ourselves.
    const bool by_us = finished_.contains(facts.name);
    if (by_us ? stamp_of(status).id != facts.stamp.id : stamp_of(status) != facts.stamp) throw changed();
    if (facts.state) {
      const std::string state = facts.name + "/trainer_state.json";
      if (::fstatat(fd_, state.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
          stamp_of(status) != *facts.state)
        throw changed();
    }
    if (!facts.is_file && plan_.items[i].is_torn) {
      // Its files may still grow, which does not show in the folder's own times.
      const Fd folder = open_folder_at(fd_, facts.name);
      if (folder.get() < 0) throw io_error("open", errno, escape_name(path_of(facts.name)));
      for (const WalkedEntry& entry : walk_folder(folder.get(), path_of(facts.name)).entries) {
        if (entry.stamp.mtime_ns > facts.changed_ns) throw changed();
      }
    }
    return true;
  }

  // While the checkpoint that training would resume from is there as it was, others may go.
  void require_anchor() {
    if (!plan_.anchor) return;
    bool there = false;
    try {
      there = is_unchanged(*plan_.anchor);
    } catch (const Error&) {
      there = false;
    }
    if (there) return;
    stopped_ = true;
    throw Error(ErrorKind::kTemporary,
                "the newest resumable checkpoint vanished or changed meanwhile: nothing more is touched")
        .in_file(escape_name(path_of(run_.checkpoints[*plan_.anchor].name)));
  }

  void act(std::size_t i) {
    require_anchor();
    if (!is_unchanged(i)) {
      ++outcome_.vanished;
      return;
    }
    switch (plan_.items[i].verb) {
      case Verb::kKeep:
        break;
      case Verb::kRemove:
        return remove(i);
      case Verb::kSlim:
        return slim(i);
      case Verb::kAside:
        return put_aside(i);
    }
  }

  // The first thing that fails on a read-only file system is enough.
  [[noreturn]] void fail(std::string_view what, int errno_value, const std::string& name) {
    stopped_ = stopped_ || errno_value == EROFS;
    throw io_error(what, errno_value, escape_name(path_of(name)));
  }

  void remove(std::size_t i) {
    const CheckpointFacts& facts = run_.checkpoints[i];
    if (options_.trash) {
      move_to_trash(fd_, facts.name, path_of(facts.name), trash_folder(), facts.name);
      count_removed(i);
      renamed_ = true;
      return;
    }
    hide(facts.name, plan_.items[i].frees);
    count_removed(i);
  }

  void count_removed(std::size_t i) {
    ++outcome_.removed;
    outcome_.bytes_freed += plan_.items[i].frees;
  }

  void hide(const std::string& name, std::uint64_t bytes) {
    const std::string hidden = stage_name(name, StageKind::kGone);
    if (::renameat(fd_, name.c_str(), fd_, hidden.c_str()) != 0) fail("rename", errno, name);
    renamed_ = true;
    doomed_.push_back({hidden, bytes});
  }

  void put_aside(std::size_t i) {
    const std::string& name = run_.checkpoints[i].name;
    for (unsigned number = 1; number < 1000; ++number) {
      const std::string aside = number == 1 ? "torn-" + name : fmt::format("torn-{}.{}", name, number);
      if (rename_new_at(fd_, name, fd_, aside)) {
        renamed_ = true;
        ++outcome_.aside;
        return;
      }
      if (errno != EEXIST && errno != ENOTEMPTY) fail("rename", errno, name);
    }
    throw refused("too many torn checkpoints of that name lie aside").in_file(escape_name(path_of(name)));
  }

  // All entries go into a hidden folder, the optimizer first, and the folder's time is put back; deleting
  // comes later. A kill between two renames leaves the journal, by which the next run finishes.
  void slim(std::size_t i) {
    const CheckpointFacts& facts = run_.checkpoints[i];
    if (finished_.contains(facts.name)) return;
    const std::string path = path_of(facts.name);
    const Fd folder = open_folder_at(fd_, facts.name);
    if (folder.get() < 0) throw io_error("open", errno, escape_name(path));
    for (const TrainingEntry& entry : facts.training_entries) {
      struct stat status {};
      if (::fstatat(folder.get(), entry.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
          FileId{status.st_dev, status.st_ino} != entry.id)
        throw Error(ErrorKind::kTemporary, "changed since it was looked at: left alone")
            .in_file(escape_name(path));
    }
    const std::string hidden = stage_name(facts.name, StageKind::kGone);
    if (::mkdirat(fd_, hidden.c_str(), 0777) != 0) fail("make a folder", errno, hidden);
    const Fd gone = open_folder_at(fd_, hidden);
    if (gone.get() < 0) throw io_error("open", errno, escape_name(path_of(hidden)));
    write_journal(gone.get(), facts, path_of(hidden));
    std::vector<std::string> names;
    for (const TrainingEntry& entry : facts.training_entries) names.push_back(entry.name);
    move_entries(folder.get(), gone.get(), names, facts.stamp.mtime_ns, path);
    dispose(hidden, facts.name, plan_.items[i].frees);
    renamed_ = true;
    ++outcome_.slimmed;
    outcome_.bytes_freed += plan_.items[i].frees;
  }

  // Which checkpoint it was: a trainer that goes on from an earlier one may write the same step again.
  static std::string identity(const FileStamp& folder, const std::optional<FileStamp>& state) {
    return fmt::format("{} {} {}\n", folder.id.inode, state ? state->id.inode : 0,
                       state ? state->mtime_ns : 0);
  }

  // Appears whole or not at all: nothing has been moved while it is not there.
  static void write_journal(int gone, const CheckpointFacts& facts, const std::string& path) {
    constexpr const char* kUnfinished = ".folder-mtime.new";
    const Fd journal(::openat(gone, kUnfinished, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (journal.get() < 0) throw io_error("write", errno, escape_name(path));
    write_stream(journal.get(), identity(facts.stamp, facts.state), escape_name(path));
    set_mtime(journal.get(), facts.stamp.mtime_ns, path);
    if (::renameat(gone, kUnfinished, gone, kJournal) != 0) throw io_error("write", errno, escape_name(path));
  }

  // True when slimming was cut short, and nobody has touched the checkpoint since: it is the same folder with
  // the same state, its time has not been put back, and the last rename out of it was also the last into
  // `gone`.
  bool was_cut_short(int folder, int gone, const std::string& hidden) {
    struct stat own {
    }, other{}, journal{}, state{};
    if (::fstat(folder, &own) != 0 || ::fstat(gone, &other) != 0 ||
        ::fstatat(gone, kJournal, &journal, AT_SYMLINK_NOFOLLOW) != 0)
      return false;
    std::optional<FileStamp> state_stamp;
    if (::fstatat(folder, "trainer_state.json", &state, AT_SYMLINK_NOFOLLOW) == 0)
      state_stamp = stamp_of(state);
    constexpr std::uint64_t kMost = 256;  // bytes
    const std::string was = read_whole_file(path_of(hidden) + "/" + kJournal, kMost);
    const std::int64_t touched = stamp_of(own).mtime_ns;
    return was == identity(stamp_of(own), state_stamp) && touched != stamp_of(journal).mtime_ns &&
           touched <= stamp_of(other).mtime_ns;
  }

  static void move_entries(int folder, int gone, const std::vector<std::string>& names, std::int64_t mtime_ns,
                           const std::string& path) {
    for (const std::string& name : names) {
      if (::renameat(folder, name.c_str(), gone, name.c_str()) != 0)
        throw io_error("rename", errno, escape_name(join_path(path, name)));
    }
    set_mtime(folder, mtime_ns, path);
  }

  // What was taken out of a slimmed checkpoint. The journal goes last: until then the next run finds it.
  void dispose(const std::string& hidden, const std::string& checkpoint, std::uint64_t bytes) {
    if (!options_.trash) {
      doomed_.push_back({hidden, bytes});
      return;
    }
    const std::string name =
        move_to_trash(fd_, hidden, path_of(hidden), trash_folder(), checkpoint + ".training-state");
    ::unlinkat(trash_folder().fd(), join_path(name, kJournal).c_str(), 0);
  }

  // What a killed run left: a hidden checkpoint to delete, or the entries of one that was being slimmed,
  // which is slimmed to the end.
  void finish(const Leftover& leftover) {
    const Fd gone = open_folder_at(fd_, leftover.name);
    struct stat journal {};
    if (gone.get() >= 0 && ::fstatat(gone.get(), kJournal, &journal, AT_SYMLINK_NOFOLLOW) == 0) {
      const std::string path = path_of(leftover.target);
      const Fd folder = open_folder_at(fd_, leftover.target);
      const std::int64_t mtime = stamp_of(journal).mtime_ns;
      if (folder.get() >= 0 && was_cut_short(folder.get(), gone.get(), leftover.name)) {
        move_entries(folder.get(), gone.get(), training_names(folder.get(), path), mtime, path);
        finished_.insert(leftover.target);
      }
      dispose(leftover.name, leftover.target, 0);
    } else {
      doomed_.push_back({leftover.name, 0});
    }
    renamed_ = true;
    ++outcome_.leftovers;
  }

  const TrashFolder& trash_folder() {
    if (!trash_) trash_.emplace(*options_.trash, run_.path);
    return *trash_;
  }

  void unlink_all() {
    std::mutex mutex;  // guards outcome_.failures
    parallel_for(doomed_.size(), options_.threads, [&](std::size_t i) {
      try {
        remove_tree_at(fd_, doomed_[i].name, path_of(doomed_[i].name));
        if (options_.on_freed) options_.on_freed(doomed_[i].bytes);
      } catch (Error& error) {
        const std::lock_guard<std::mutex> lock(mutex);
        outcome_.failures.push_back(error.hint("out of the trainer's sight; the next run tries again"));
      }
    });
  }

  int fd_;
  const std::string& path_;
  const RunFacts& run_;
  const RunPlan& plan_;
  const ExecuteOptions& options_;
  Outcome outcome_;
  std::vector<Doomed> doomed_;
  std::optional<TrashFolder> trash_;
  std::set<std::string> finished_;  // checkpoints that a killed run was slimming
  bool renamed_ = false, stopped_ = false;
};

}  // namespace

Outcome execute_plan(const RunFolder& folder, const RunFacts& run, const RunPlan& plan,
                     const ExecuteOptions& options) {
  return Executor(folder, run, plan, options).execute();
}

}  // namespace mu
