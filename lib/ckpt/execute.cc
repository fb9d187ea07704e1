// SPDX-License-Identifier: Apache-2.0
// How a plan is carried out, in three steps. First every item is hidden: just before each rename the item and
// the anchor (the checkpoint that training would resume from) are compared with what the scan saw, and just
// after it what was renamed is compared again (hide.h), because somebody may have put another checkpoint
// there in between. Then one sync of the run folder makes all renames durable; if it fails, everything is put
// back. Only then are the hidden entries deleted, in parallel, since deleting takes nearly all the time and
// order no longer matters. Slimming and the trash follow the same order with other destinations.

#include "ckpt/execute.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <set>

#include "base/text.h"
#include "ckpt/hide.h"
#include "ckpt/slim.h"
#include "ckpt/trash.h"
#include "ckpt/walk.h"
#include "os/folder.h"
#include "os/interrupt.h"
#include "os/remove_tree.h"
#include "os/rename.h"
#include "os/threads.h"

namespace mu {
namespace {

// Makes names durable. Some network file systems can't sync a folder and say so.
void sync_at(int folder, const std::string& path) {
  if (::fsync(folder) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EBADF)
    throw io_error("write to the disk", errno, escape_name(path));
}

class Executor {
 public:
  Executor(const RunFolder& folder, const RunFacts& run, const RunPlan& plan, const ExecuteOptions& options)
      : fd_(folder.fd.get()), path_(folder.path), run_(run), plan_(plan), options_(options) {}

  Outcome execute() {
    if (run_.leftovers.empty() && !plan_.changes_anything()) return {};
    try {
      require_writable(fd_, path_);
    } catch (const Error& error) {
      outcome_.failures.push_back(error);
      return std::move(outcome_);
    }
    for (const Leftover& leftover : run_.leftovers) attempt([&] { finish(leftover); });
    for (std::size_t i = 0; i < plan_.items.size() && !stopped_; ++i) {
      check_interrupt();
      if (plan_.items[i].verb != Verb::kKeep) attempt([&] { act(i); });
    }
    try {
      if (renamed_) sync_at(fd_, path_);
    } catch (const Error& error) {  // names that may not last: delete nothing
      outcome_.failures.push_back(error);
      put_all_back();
      return std::move(outcome_);
    }
    remove_all();
    return std::move(outcome_);
  }

 private:
  // A hidden entry of the run folder that will be removed once all are hidden, and the counter it then adds
  // to.
  struct Doomed {
    std::string name;
    std::string target;  // the checkpoint it is; empty if it can't be put back as one
    std::uint64_t bytes;
    std::uint64_t Outcome::*count;
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

  // False if it has vanished. Throws kTemporary if it is no longer what the plan was made for.
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
    // If a killed run was slimming it, we ourselves have just changed it.
    const bool by_us = finished_.contains(facts.name);
    if (by_us ? stamp_of(status).id != facts.stamp.id : stamp_of(status) != facts.stamp) throw changed();
    if (facts.state) {
      const std::string state = facts.name + "/trainer_state.json";
      if (::fstatat(fd_, state.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
          stamp_of(status) != *facts.state)
        throw changed();
    }
    if (!facts.is_file && plan_.items[i].is_torn) {
      // Its files may still grow, and the folder's own times would not show it.
      const Fd folder = open_folder_at(fd_, facts.name);
      if (folder.get() < 0) throw io_error("open", errno, escape_name(path_of(facts.name)));
      for (const WalkedEntry& entry : walk_folder(folder.get(), path_of(facts.name)).entries) {
        if (entry.stamp.mtime_ns > facts.changed_ns) throw changed();
      }
    }
    return true;
  }

  // Others may go only while the checkpoint that training would resume from is there unchanged.
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
                "the newest resumable checkpoint has vanished or changed: nothing more is touched")
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

  // What the checkpoint must still be. One whose slimming we have just finished has a new time, so only its
  // identity counts.
  Judged judged(std::size_t i) const {
    const CheckpointFacts& facts = run_.checkpoints[i];
    if (finished_.contains(facts.name)) return {facts.stamp.id};
    return {facts.stamp.id, facts.stamp.mtime_ns};
  }

  void remove(std::size_t i) {
    const CheckpointFacts& facts = run_.checkpoints[i];
    const std::string path = path_of(facts.name);
    require_removable(fd_, facts.name, path);
    if (options_.trash) {
      move_to_trash(fd_, facts.name, path, judged(i), trash_folder(), facts.name);
      count(&Outcome::removed, plan_.items[i].frees);
    } else {
      doomed_.push_back(
          {hide(judged(i), fd_, facts.name, path), facts.name, plan_.items[i].frees, &Outcome::removed});
    }
    renamed_ = true;
  }

  void count(std::uint64_t Outcome::*what, std::uint64_t bytes) {
    ++(outcome_.*what);
    outcome_.bytes_freed += bytes;
  }

  void put_aside(std::size_t i) {
    const std::string& name = run_.checkpoints[i].name;
    const std::string path = path_of(name);
    for (unsigned number = 1; number < 1000; ++number) {
      const std::string aside = number == 1 ? "torn-" + name : fmt::format("torn-{}.{}", name, number);
      if (!rename_new_at(fd_, name, fd_, aside, path)) continue;
      require_judged(judged(i), fd_, name, path, fd_, aside);
      renamed_ = true;
      ++outcome_.aside;
      return;
    }
    throw refused("too many torn checkpoints of this name were put aside before").in_file(escape_name(path));
  }

  void slim(std::size_t i) {
    const CheckpointFacts& facts = run_.checkpoints[i];
    if (finished_.contains(facts.name)) return;
    const std::string hidden = slim_checkpoint(fd_, facts, path_of(facts.name));
    dispose(hidden, facts.name, plan_.items[i].frees, &Outcome::slimmed);
  }

  // Removes, or moves to the trash, what was taken out of a slimmed checkpoint.
  void dispose(const std::string& hidden, const std::string& checkpoint, std::uint64_t bytes,
               std::uint64_t Outcome::*what) {
    renamed_ = true;
    if (!options_.trash) {
      doomed_.push_back({hidden, "", bytes, what});
      return;
    }
    struct stat status {};
    if (::fstatat(fd_, hidden.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
      throw io_error("look at", errno, escape_name(path_of(hidden)));
    const std::string name = move_to_trash(fd_, hidden, path_of(hidden), {stamp_of(status).id},
                                           trash_folder(), checkpoint + ".training-state");
    ::unlinkat(trash_folder().fd(), join_path(name, kSlimJournal).c_str(), 0);
    count(what, bytes);
  }

  // Finishes what a killed run left: deletes a hidden checkpoint if it is the one that was judged, and
  // completes a slimming.
  void finish(const Leftover& leftover) {
    const FinishedSlimming slimming = finish_slimming(fd_, path_, leftover);
    if (slimming.was_cut) finished_.insert(leftover.target);
    if (slimming.is_journaled) return dispose(leftover.name, leftover.target, 0, &Outcome::leftovers);
    const std::string path = path_of(leftover.name);
    struct stat status {};
    if (::fstatat(fd_, leftover.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return;  // another run was faster
      throw io_error("look at", errno, escape_name(path));
    }
    renamed_ = true;
    if (leftover.judged && leftover.judged->inode != status.st_ino) {
      const std::string place = put_back(fd_, leftover.name, fd_, leftover.target, path);
      throw Error(
          ErrorKind::kPartial,
          "was hidden by a killed run but is not the checkpoint which that run had judged: it is now " +
              escape_name(place))
          .in_file(escape_name(path));
    }
    doomed_.push_back({leftover.name, "", 0, &Outcome::leftovers});
  }

  const TrashFolder& trash_folder() {
    if (!trash_) trash_.emplace(*options_.trash, run_.path);
    return *trash_;
  }

  void remove_all() {
    std::mutex mutex;  // guards outcome_
    parallel_for(doomed_.size(), options_.threads, [&](std::size_t i) {
      const Doomed& doomed = doomed_[i];
      std::uint64_t removed = 0;
      try {
        remove_tree_interruptibly_at(fd_, doomed.name, path_of(doomed.name), removed);
        if (options_.on_freed) options_.on_freed(doomed.bytes);
        const std::lock_guard<std::mutex> lock(mutex);
        count(doomed.count, doomed.bytes);
      } catch (const Error& error) {
        const Error failure = not_removed(doomed, error, removed);
        const std::lock_guard<std::mutex> lock(mutex);
        outcome_.failures.push_back(failure);
      }
    });
  }

  // A checkpoint that is still whole is put back; otherwise the message names the hidden path.
  Error not_removed(const Doomed& doomed, const Error& why, std::uint64_t removed) {
    if (removed == 0 && !doomed.target.empty()) {
      try {
        const std::string place = put_back(fd_, doomed.name, fd_, doomed.target, path_of(doomed.target));
        return Error(ErrorKind::kPartial, why.message() + ": put back").in_file(escape_name(path_of(place)));
      } catch (const Error&) {  // the message below says where it is
      }
    }
    return Error(ErrorKind::kPartial, why.message())
        .in_file(why.file())
        .hint("the trainer does not see what is left of it; the next run tries again");
  }

  void put_all_back() {
    for (const Doomed& doomed : doomed_) {
      if (doomed.target.empty()) continue;
      attempt([&] { put_back(fd_, doomed.name, fd_, doomed.target, path_of(doomed.name)); });
    }
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
