// SPDX-License-Identifier: Apache-2.0
// How slimming survives a kill at any moment. (1) A hidden folder is made, and the journal is written into it
// under another name, synced and renamed. A kill until here has moved nothing. (2) The folder is renamed to a
// name that records the judged checkpoint; from now on any later run may finish it. (3) Each entry is moved
// by a rename that replaces nothing, and its inode is compared after the move. (4) The checkpoint's time is
// restored and its folder synced; only then may the hidden folder be deleted. A later run that finds the
// hidden folder completes step 3 if the checkpoint is still the same folder with the same state and nobody
// has touched it since the last move; otherwise the trainer has written there again, and only what was judged
// is deleted.

#include "ckpt/slim.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <map>

#include "base/text.h"
#include "ckpt/completeness.h"
#include "ckpt/hide.h"
#include "ckpt/walk.h"
#include "os/folder.h"
#include "os/rename.h"
#include "os/stage_name.h"

namespace mu {
namespace {

constexpr const char* kUnfinishedJournal = ".folder-mtime.new";
constexpr std::uint64_t kMaxJournal = 64U << 20;  // bytes; a line for each file of a rank

void sync_at(int fd, const std::string& path) {
  if (::fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EBADF)
    throw io_error("write to the disk", errno, escape_name(path));
}

timespec to_timespec(std::int64_t ns) {
  const std::int64_t seconds = ns / kSecond - (ns % kSecond < 0 ? 1 : 0);
  return {static_cast<time_t>(seconds), static_cast<long>(ns - seconds * kSecond)};
}

void set_mtime(int fd, std::int64_t mtime_ns, const std::string& path) {
  const timespec times[2] = {{0, UTIME_OMIT}, to_timespec(mtime_ns)};
  if (::futimens(fd, times) != 0) throw io_error("set the time", errno, escape_name(path));
}

std::optional<FileId> id_at(int folder, const std::string& name) {
  struct stat status {};
  if (::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
  return FileId{status.st_dev, status.st_ino};
}

Error changed(const std::string& path) {
  return Error(ErrorKind::kTemporary, "changed since it was looked at: left alone")
      .in_file(escape_name(path));
}

// Identifies the checkpoint: a trainer that goes on from an earlier one may write the same step again.
std::string identity(const FileStamp& folder, const std::optional<FileStamp>& state) {
  return fmt::format("{} {} {}\n", folder.id.inode, state ? state->id.inode : 0, state ? state->mtime_ns : 0);
}

// The journal: a line with the identity, then a line "INODE NAME" for each entry. Its own mtime is that of
// the checkpoint's folder. Version 0.1 wrote only the first line.
struct Journal {
  std::string identity;
  std::map<std::string, ino_t> entries;
  std::int64_t mtime_ns = 0;
};

std::optional<Journal> read_journal(int gone, const std::string& hidden_path) {
  const std::string path = join_path(hidden_path, kSlimJournal);
  Fd fd(::openat(gone, kSlimJournal, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (fd.get() < 0) {
    if (errno == ENOENT) return std::nullopt;
    throw io_error("open", errno, escape_name(path));
  }
  const InputFile file = InputFile::adopt(std::move(fd), path);
  const std::string text = file.read_start(kMaxJournal);
  const std::size_t first = std::min(text.find('\n'), text.size() - 1) + 1;
  Journal journal{text.substr(0, first), {}, file.stamp().mtime_ns};
  for (const std::string_view line : split(std::string_view(text).substr(first), '\n')) {
    std::uint64_t inode = 0;
    const std::from_chars_result number = std::from_chars(line.data(), line.data() + line.size(), inode);
    const auto digits = static_cast<std::size_t>(number.ptr - line.data());
    if (number.ec == std::errc() && digits + 1 < line.size())
      journal.entries[std::string(line.substr(digits + 1))] = static_cast<ino_t>(inode);
  }
  return journal;
}

// Writes the journal so that it appears complete or not at all.
void write_journal(int gone, const CheckpointFacts& facts, const std::string& path) {
  std::string text = identity(facts.stamp, facts.state);
  for (const TrainingEntry& entry : facts.training_entries)
    text += fmt::format("{} {}\n", entry.id.inode, entry.name);
  const Fd journal(::openat(gone, kUnfinishedJournal, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (journal.get() < 0) throw io_error("write", errno, escape_name(path));
  write_stream(journal.get(), text, escape_name(path));
  set_mtime(journal.get(), facts.stamp.mtime_ns, path);
  if (::fsync(journal.get()) != 0) throw io_error("write to the disk", errno, escape_name(path));
  if (::renameat(gone, kUnfinishedJournal, gone, kSlimJournal) != 0)
    throw io_error("write", errno, escape_name(path));
  sync_at(gone, path);
}

// Moves one entry and makes sure that it is the one that was judged.
void move_entry(int folder, int gone, const std::string& name, ino_t inode, const std::string& path) {
  const std::string inner = join_path(path, name);
  if (!rename_new_at(folder, name, gone, name, inner)) throw changed(path);
  const std::optional<FileId> id = id_at(gone, name);
  if (id && id->inode == inode) return;
  const std::string place = put_back(gone, name, folder, name, inner);
  if (place == name) throw changed(path);
  throw Error(ErrorKind::kPartial,
              fmt::format("was replaced twice in the meantime: one of the two is now {}", escape_name(place)))
      .in_file(escape_name(inner));
}

// A slimming in progress: it is undone unless it completes.
class Slimming {
 public:
  Slimming(int run, const CheckpointFacts& facts, const std::string& path)
      : run_(run), facts_(facts), path_(path), folder_(open_folder_at(run, facts.name)) {
    struct stat status {};
    if (folder_.get() < 0 || ::fstat(folder_.get(), &status) != 0)
      throw io_error("open", errno, escape_name(path));
    if (stamp_of(status).id != facts.stamp.id) throw changed(path);
    require_allowed(status.st_uid);
  }

  std::string run() {
    hidden_ = stage_name(facts_.name, StageKind::kGone);
    if (::mkdirat(run_, hidden_.c_str(), 0777) != 0) throw io_error("make a folder", errno, hidden_path());
    try {
      gone_ = open_folder_at(run_, hidden_);
      if (gone_.get() < 0) throw io_error("open", errno, hidden_path());
      write_journal(gone_.get(), facts_, hidden_path());
      name_judged();
      for (const TrainingEntry& entry : facts_.training_entries) {
        move_entry(folder_.get(), gone_.get(), entry.name, entry.id.inode, path_);
        moved_.push_back(entry.name);
      }
      set_mtime(folder_.get(), facts_.stamp.mtime_ns, path_);
      sync_at(folder_.get(), path_);
    } catch (Error& error) {
      if (!undo())
        throw error.hint(
            fmt::format("what could not be moved back is in {}; the next run continues", hidden_path()));
      throw;
    }
    return hidden_;
  }

 private:
  std::string hidden_path() const { return escape_name(join_path(parent_of(path_), hidden_)); }

  // Once the journal is on the disk, the hidden folder gets a name that records which checkpoint was judged:
  // from now on any run may complete it, and nobody else clears it away.
  void name_judged() {
    const std::string judged = stage_name(facts_.name, StageKind::kGone, facts_.stamp.id);
    if (!rename_new_at(run_, hidden_, run_, judged, hidden_path())) throw changed(path_);
    hidden_ = judged;
    sync_at(run_, path_);
  }

  // Finds out, before anything is moved, whether the entries and the time are ours to change.
  void require_allowed(uid_t owner) {
    for (const TrainingEntry& entry : facts_.training_entries) {
      if (id_at(folder_.get(), entry.name) != entry.id) throw changed(path_);
      require_removable(folder_.get(), entry.name, join_path(path_, entry.name));
    }
    require_writable(folder_.get(), path_);
    if (!may_act_as(owner))
      throw Error(ErrorKind::kPartial,
                  "belongs to another user, so its time could not be restored: left as it is")
          .in_file(escape_name(path_));
  }

  bool undo() {
    try {
      for (; !moved_.empty(); moved_.pop_back()) {
        if (!rename_new_at(gone_.get(), moved_.back(), folder_.get(), moved_.back(), path_)) return false;
      }
      set_mtime(folder_.get(), facts_.stamp.mtime_ns, path_);
    } catch (const Error&) {
      return false;
    }
    for (const char* journal : {kUnfinishedJournal, kSlimJournal}) ::unlinkat(gone_.get(), journal, 0);
    ::unlinkat(run_, hidden_.c_str(), AT_REMOVEDIR);
    return true;
  }

  int run_;
  const CheckpointFacts& facts_;
  const std::string& path_;
  Fd folder_, gone_;
  std::string hidden_;
  std::vector<std::string> moved_;
};

// A rename sets the times of its two folders one after the other. A tick of the clock (up to 10 ms), or
// another process's turn, may lie between them, so their times are compared with this much tolerance.
constexpr std::int64_t kOneRename = 100'000'000;  // ns

// True if slimming was cut short and nobody has touched the checkpoint since: it is the same folder with the
// same state, its time has not been restored, and the last rename out of it was also the last into `gone`.
bool was_cut_short(int folder, int gone, const Journal& journal) {
  struct stat own {
  }, other{}, state{};
  if (::fstat(folder, &own) != 0 || ::fstat(gone, &other) != 0) return false;
  std::optional<FileStamp> state_stamp;
  if (::fstatat(folder, "trainer_state.json", &state, AT_SYMLINK_NOFOLLOW) == 0)
    state_stamp = stamp_of(state);
  const std::int64_t touched = stamp_of(own).mtime_ns;
  return journal.identity == identity(stamp_of(own), state_stamp) && touched != journal.mtime_ns &&
         touched <= stamp_of(other).mtime_ns + kOneRename;
}

// Moves the remaining entries: those that the journal names or, for a journal of version 0.1, those that
// slimming would take.
void move_rest(int folder, int gone, const Journal& journal, const std::string& path) {
  if (journal.entries.empty()) {
    for (const std::string& name : training_names(folder, path)) {
      if (::renameat(folder, name.c_str(), gone, name.c_str()) != 0)
        throw io_error("rename", errno, escape_name(join_path(path, name)));
    }
  }
  for (const auto& [name, inode] : journal.entries) {
    const std::optional<FileId> id = id_at(folder, name);
    if (id && id->inode == inode) move_entry(folder, gone, name, inode, path);
  }
  set_mtime(folder, journal.mtime_ns, path);
  sync_at(folder, path);
}

// Gives back what is in the hidden folder and was not judged.
void give_back_others(int run, const std::string& run_path, int gone, const Journal& journal,
                      const Leftover& leftover) {
  if (journal.entries.empty()) return;  // version 0.1 did not record them
  const std::string hidden_path = join_path(run_path, leftover.name);
  for (const auto& [name, type] : list_at(gone, hidden_path)) {
    if (name == kSlimJournal || name == kUnfinishedJournal) continue;
    const std::optional<FileId> id = id_at(gone, name);
    const auto found = journal.entries.find(name);
    if (!id || (found != journal.entries.end() && found->second == id->inode)) continue;
    const std::string path = join_path(hidden_path, name);
    const Fd folder = open_folder_at(run, leftover.target);
    const bool given_back = folder.get() >= 0 && rename_new_at(gone, name, folder.get(), name, path);
    const std::string place =
        given_back ? join_path(leftover.target, name)
                   : put_back(gone, name, run, fmt::format("kept-{}-{}", leftover.target, name), path);
    throw Error(ErrorKind::kPartial,
                fmt::format("was hidden by a killed run and never judged: it is now {}", escape_name(place)))
        .in_file(escape_name(path))
        .hint("the next run finishes the rest");
  }
}

}  // namespace

std::string slim_checkpoint(int run, const CheckpointFacts& facts, const std::string& path) {
  return Slimming(run, facts, path).run();
}

FinishedSlimming finish_slimming(int run, const std::string& run_path, const Leftover& leftover) {
  const Fd gone = open_folder_at(run, leftover.name);
  if (gone.get() < 0) return {};
  const std::optional<Journal> journal = read_journal(gone.get(), join_path(run_path, leftover.name));
  if (!journal) return {};
  FinishedSlimming finished{.is_journaled = true};
  const std::string path = join_path(run_path, leftover.target);
  const Fd folder = open_folder_at(run, leftover.target);
  if (folder.get() >= 0 && was_cut_short(folder.get(), gone.get(), *journal)) {
    move_rest(folder.get(), gone.get(), *journal, path);
    finished.was_cut = true;
  }
  give_back_others(run, run_path, gone.get(), *journal, leftover);
  return finished;
}

}  // namespace mu
