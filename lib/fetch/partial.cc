// SPDX-License-Identifier: Apache-2.0
// How a partial output changes hands, on file systems that carry locks and on those that do not:
//
//   1. The lock, the owner line and the time of the record tell whether it may be had (require_ended).
//   2. The record is renamed to a name of the claimant (seize). One claimant gets it; the old holder, should it live, sees
//      from then on that its record is gone.
//   3. A new record, with the steps of the old one and the new owner, is put in place unless there is one (publish).
//   4. What else lies in the folder goes: other records, and the folder of a work that is not continued.
//
// A holder that stood still for minutes may wake up at any time. note() writes first and looks then whether the record is
// still in place, so a step that it reports as noted was noted before the record was seized, and the new holder read it.
// What it writes into files of the work are the same bytes at the same places. Where the work is another one, its folder
// has another name.
#include "fetch/partial.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "fetch/partial_record.h"
#include "hash/sha256.h"
#include "os/file.h"
#include "os/folder.h"
#include "os/interrupt.h"
#include "os/mounts.h"
#include "os/remove_tree.h"
#include "os/rename.h"
#include "os/stage.h"
#include "os/stage_name.h"

namespace mu {
namespace {

constexpr std::chrono::seconds kTouch{30};  // between two touches of the record
constexpr std::int64_t kStale = 120;        // seconds without a touch, after which another run may take over
constexpr std::size_t kLongestName = 255;   // bytes; NAME_MAX of Linux
constexpr std::uint64_t kLongestRecord = 1ULL << 30;  // bytes
constexpr std::string_view kSuffix = ".partial", kLock = "lock", kRecord = "record", kSeized = "record.",
                           kNext = "next.";

// Whether `name`, in a partial output, can be a name that we gave, besides those of the lock and the record.
bool is_leftover(std::string_view name) {
  for (const std::string_view prefix : {kSeized, kNext}) {
    if (name.starts_with(prefix) && is_random_id(name.substr(prefix.size()))) return true;
  }
  return is_random_id(name);
}

Error not_ours(std::string_view what, const std::string& path) {
  return refused(std::string(what)).in_file(escape_name(path)).hint("move it away, or write elsewhere");
}

Error in_use(const std::string& path, const std::string& by, const std::string& advice) {
  return Error(ErrorKind::kTemporary, "is in use by " + by).in_file(escape_name(path)).hint(advice);
}

Error taken_over(const std::string& path) {
  return Error(ErrorKind::kTemporary, "another run has taken it over").in_file(escape_name(path));
}

bool is_same_file(const std::string& path, int fd) {
  struct stat there {
  }, here{};
  return ::lstat(path.c_str(), &there) == 0 && ::fstat(fd, &here) == 0 && there.st_dev == here.st_dev &&
         there.st_ino == here.st_ino;
}

// Opens a file of a partial output. What is not a regular file is not ours.
Fd open_file(const std::string& path, int flags) {
  Fd fd(::open(path.c_str(), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666));
  if (fd.get() < 0 && errno == ELOOP) throw not_ours("is a link", path);
  if (fd.get() < 0) throw io_error("open", errno, escape_name(path));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) throw io_error("look at", errno, escape_name(path));
  if (!S_ISREG(status.st_mode)) throw not_ours("is not a regular file", path);
  return fd;
}

// Nothing where there is none.
std::optional<PartialRecord> read_record(const std::string& path) {
  if (!find_status(path, false)) return std::nullopt;
  return parse_record(InputFile::adopt(open_file(path, O_RDONLY), path).read_start(kLongestRecord));
}

// The name of the record: "record", or the newest of those that were seized by a run that was killed then.
std::optional<std::string> find_record(const std::string& folder) {
  if (find_status(join_path(folder, kRecord), false)) return std::string(kRecord);
  if (!is_folder(folder)) return std::nullopt;  // removed by now
  std::optional<FolderEntry> newest;
  for (FolderEntry& entry : list_folder(folder)) {
    if (!entry.name.starts_with(kSeized) || !is_leftover(entry.name)) continue;
    if (!newest || newest->stamp.ctime_ns < entry.stamp.ctime_ns) newest = std::move(entry);
  }
  return newest ? std::optional(newest->name) : std::nullopt;
}

// A folder without a whole record can be ours, too: killed before there was one, or damaged. Then it holds nothing
// else than what we put there.
void require_ours(const std::string& folder) {
  struct stat status {};
  if (::lstat(folder.c_str(), &status) != 0) return;  // gone by now
  if (S_ISLNK(status.st_mode)) throw not_ours("is a link, not a partial output", folder);
  if (!S_ISDIR(status.st_mode)) throw not_ours("is not a folder, so not a partial output", folder);
  const std::optional<std::string> name = find_record(folder);
  const std::optional<PartialRecord> record =
      name ? read_record(join_path(folder, *name)) : std::optional<PartialRecord>();
  if (record && !record->id.empty()) return;
  for (const FolderEntry& entry : list_folder(folder)) {
    const bool known = entry.name == kLock || entry.name == kRecord || is_leftover(entry.name);
    if (!known || (!name && is_random_id(entry.name)))
      throw not_ours("is not a partial output of this program", folder);
  }
}

// Who can write the work can make it lie, so it must be this user's: as files of this user are shown on this file system,
// which may map all users to one.
void require_own(const std::string& folder) {
  const std::optional<struct stat> status = find_status(folder);
  if (!status || status->st_uid == ::geteuid()) return;
  const std::string name = join_path(folder, std::string(kNext) + random_id());
  const Fd probe = open_file(name, O_RDWR | O_CREAT | O_EXCL);
  struct stat mine {};
  const bool known = ::fstat(probe.get(), &mine) == 0;
  ::unlink(name.c_str());
  if (!known || mine.st_uid != status->st_uid) throw not_ours("belongs to another user", folder);
}

enum class Lock : std::uint8_t { kHeld, kOfAnother, kUnknown };

Lock take_lock(int fd) {
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return Lock::kHeld;
  return errno == EWOULDBLOCK ? Lock::kOfAnother : Lock::kUnknown;
}

// A process that was killed holds the lock until the kernel has taken it apart, which takes a moment.
std::chrono::milliseconds lock_patience{2000};

Lock await_lock(int fd) {
  constexpr std::chrono::milliseconds kStep{20};
  Lock lock = take_lock(fd);
  for (std::chrono::milliseconds left = lock_patience; lock == Lock::kOfAnother && left.count() > 0;
       left -= kStep) {
    check_interrupt();
    std::this_thread::sleep_for(kStep);
    lock = take_lock(fd);
  }
  return lock;
}

// Seconds since the record was touched, by the clock of the file system, which touching `lock` tells. A live holder touches it often, so a time far in
// the future (a clock was set back) counts like one far in the past.
std::int64_t age_of(const std::string& record, int lock) {
  struct stat now {};
  const std::optional<struct stat> touched = find_status(record, false);
  if (::futimens(lock, nullptr) != 0 || ::fstat(lock, &now) != 0)
    throw io_error("touch", errno, escape_name(record));
  return touched ? std::abs(now.st_mtime - touched->st_mtime) : 0;
}

// The lock, or whose it is. Who has not touched the record for long is not waited for.
Lock lock_unless_stale(const std::string& folder, int fd) {
  const Lock lock = take_lock(fd);
  if (lock != Lock::kOfAnother) return lock;
  const std::optional<std::string> record = find_record(folder);
  return record && age_of(join_path(folder, *record), fd) > kStale ? lock : await_lock(fd);
}

// Throws kTemporary if the run that wrote this record may still be at work.
void require_ended(const std::string& folder, const PartialRecord& record, Lock lock, std::int64_t age) {
  const PartialOwner& owner = record.owner;
  const bool is_here = owner.boot == this_boot() && owner.boot != "unknown";
  if (lock != Lock::kOfAnother && record.given_up) return;
  if (lock == Lock::kHeld && is_here && owner.locked) return;  // the kernel released it: the holder is dead
  if (age > kStale) return;
  const std::string who = owner.host.empty() ? "another run" : "a run on " + escape_name(owner.host);
  const std::string wait =
      lock == Lock::kOfAnother && is_here
          ? "wait until that run has ended"
          : fmt::format("wait until that run has ended; if it was killed, run this again in {} s",
                        kStale + 1 - age);
  throw in_use(folder, fmt::format("{}, which touched it {} s ago", who, age), wait);
}

// Blocks of files; folders are not counted. Asked after a signal, too, so nothing of it can be interrupted.
std::uint64_t bytes_below(const std::string& folder) {
  std::uint64_t bytes = 0;
  std::error_code failed;
  for (std::filesystem::recursive_directory_iterator entry(folder, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    struct stat status {};
    if (::lstat(entry->path().c_str(), &status) == 0 && S_ISREG(status.st_mode))
      bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  return bytes;
}

}  // namespace

struct PartialOutput::State {
  std::string shown, path, run = random_id();
  PartialRecord record;
  Fd lock_file, record_file;
  Lock lock = Lock::kUnknown;

  std::mutex mutex;  // guards what follows, and the end of the record
  std::condition_variable wake;
  std::uint64_t size = 0;  // bytes, of the record
  bool lost = false;       // another run has taken over
  bool ending = false;
  std::thread toucher;

  [[nodiscard]] std::string in(std::string_view name) const { return join_path(shown, name); }

  ~State();

  bool claim(const std::string& identity, bool fresh);
  void seize(const std::string& name);
  void publish(PartialRecord next);
  void make_place() const;
  void start_touching();
  void stop_touching();
  bool is_held();
  void require_held();
  void append(std::string_view text);
};

// False where the folder was removed meanwhile.
bool PartialOutput::State::claim(const std::string& identity, bool fresh) {
  if (::mkdir(shown.c_str(), 0777) == 0) {
    sync_folder(parent_of(shown));
  } else if (errno != EEXIST) {
    throw io_error("make the folder", errno, escape_name(shown));
  }
  require_ours(shown);
  require_own(shown);
  try {
    lock_file = open_file(in(kLock), O_RDWR | O_CREAT);
  } catch (const Error&) {
    if (!exists(shown)) return false;
    throw;
  }
  lock = lock_unless_stale(shown, lock_file.get());
  if (!is_same_file(in(kLock), lock_file.get())) return false;
  const std::optional<std::string> found = find_record(shown);
  PartialRecord old;
  if (found) {
    old = read_record(in(*found)).value_or(PartialRecord());
    require_ended(shown, old, lock, age_of(in(*found), lock_file.get()));
    seize(*found);
    old = read_record(in(std::string(kSeized) + run)).value_or(PartialRecord());
  } else if (lock == Lock::kOfAnother) {
    throw in_use(shown, "another run, which has just begun", "wait until that run has ended");
  }
  const std::string wanted = in_one_line(identity);
  const std::optional<struct stat> work = find_status(in(old.id), false);
  const bool goes_on = !fresh && !old.id.empty() && old.identity == wanted && work && S_ISDIR(work->st_mode);
  if (!goes_on) old = {random_id(), wanted, {}, false, {}};
  publish(std::move(old));
  return true;
}

void PartialOutput::State::seize(const std::string& name) {
  const std::string mine = in(std::string(kSeized) + run);
  if (::rename(in(name).c_str(), mine.c_str()) == 0) return;
  if (errno == ENOENT)
    throw in_use(shown, "another run, which takes it over now", "wait until that run has ended");
  throw io_error("take over", errno, escape_name(in(name)));
}

void PartialOutput::State::publish(PartialRecord next) {
  next.owner = {run, this_boot(), this_host(), lock == Lock::kHeld};
  next.given_up = false;
  const std::string text = record_text(next), name = in(std::string(kNext) + run);
  record_file = open_file(name, O_RDWR | O_APPEND | O_CREAT | O_EXCL);
  OutputFile file(Fd(::fcntl(record_file.get(), F_DUPFD_CLOEXEC, 0)), name);
  file.write_at(0, as_bytes(text));
  file.sync();
  if (!exists(name) || !rename_new(name, in(kRecord))) {
    ::unlink(name.c_str());
    throw in_use(shown, "another run, which took it over", "wait until that run has ended");
  }
  size = text.size();
  record = std::move(next);
  path = in(record.id);
}

// Takes time where a large work has to go.
void PartialOutput::State::make_place() const {
  for (const FolderEntry& entry : list_folder(shown)) {
    if (is_leftover(entry.name) && entry.name != record.id) remove_tree_interruptibly(in(entry.name));
  }
  if (::mkdir(path.c_str(), 0777) != 0 && errno != EEXIST)
    throw io_error("make the folder", errno, escape_name(path));
  sync_folder(shown);
}

// In a thread that gets no signals: those are for the threads that wait for something.
void PartialOutput::State::start_touching() {
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  toucher = std::thread([this] {
    std::unique_lock<std::mutex> guard(mutex);
    while (!wake.wait_for(guard, kTouch, [this] { return ending; })) {
      if (is_held()) ::futimens(record_file.get(), nullptr);
    }
  });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void PartialOutput::State::stop_touching() {
  {
    const std::lock_guard<std::mutex> guard(mutex);
    ending = true;
  }
  wake.notify_all();
  if (toucher.joinable()) toucher.join();
}

// The caller holds the mutex. File systems may number a file anew, so only what the record says decides that it is not
// ours.
bool PartialOutput::State::is_held() {
  if (lost || is_same_file(in(kRecord), record_file.get())) return !lost;
  try {
    const std::optional<PartialRecord> now = read_record(in(kRecord));
    lost = !now || now->owner.run != run;
  } catch (const Error&) {
    lost = true;
  }
  return !lost;
}

void PartialOutput::State::require_held() {
  if (!is_held()) throw taken_over(shown);
}

// The caller holds the mutex.
void PartialOutput::State::append(std::string_view text) {
  ssize_t put = 0;
  do put = ::write(record_file.get(), text.data(), text.size());
  while (put < 0 && errno == EINTR);
  if (put == static_cast<ssize_t>(text.size())) {
    size += text.size();
    return;
  }
  const int reason = put < 0 ? errno : ENOSPC;
  if (::ftruncate(record_file.get(), static_cast<off_t>(size)) != 0) lost = true;
  throw io_error("write", reason, escape_name(in(kRecord)));
}

PartialOutput::PartialOutput(const std::string& target, const std::string& identity, bool fresh)
    : state_(std::make_unique<State>()) {
  state_->shown = path_of(target);
  clean_stale_stages(parent_of(state_->shown));
  constexpr int kTries = 8;
  int tries = 0;
  while (!state_->claim(identity, fresh)) {
    if (++tries == kTries) throw in_use(state_->shown, "other runs, which begin and end", "run this again");
  }
  state_->start_touching();
  state_->make_place();
}

// The next run on any machine need not wait.
PartialOutput::State::~State() {
  stop_touching();
  try {
    if (record_file.get() >= 0 && is_held()) append(given_up_line());
  } catch (const Error&) {  // a full disk: then it has to
  }
}

PartialOutput::~PartialOutput() = default;

const std::string& PartialOutput::path() const {
  return state_->path;
}

const std::vector<std::string>& PartialOutput::lines() const {
  return state_->record.steps;
}

void PartialOutput::note(std::string_view line) {
  const std::lock_guard<std::mutex> guard(state_->mutex);
  state_->require_held();
  state_->append(step_line(line));
  if (::fdatasync(state_->record_file.get()) != 0 && errno != EINVAL)
    throw io_error("write to the disk", errno, escape_name(state_->in(kRecord)));
  state_->require_held();
}

void PartialOutput::require_held() const {
  const std::lock_guard<std::mutex> guard(state_->mutex);
  state_->require_held();
}

void PartialOutput::require_room(std::uint64_t bytes) const {
  require_space(state_->shown, bytes - std::min(bytes, this->bytes()), "nothing more was written");
}

void PartialOutput::restart() {
  const std::lock_guard<std::mutex> guard(state_->mutex);
  state_->require_held();
  state_->seize(std::string(kRecord));
  state_->publish({random_id(), state_->record.identity, {}, false, {}});
  state_->make_place();
}

std::uint64_t PartialOutput::bytes() const {
  return bytes_below(state_->path);
}

// Renamed first, so that nobody finds half of it.
void PartialOutput::remove() {
  const std::string& path = state_->shown;
  const std::string gone = join_path(parent_of(path), stage_name(base_name(path), StageKind::kGone));
  state_->stop_touching();
  {
    const std::lock_guard<std::mutex> guard(state_->mutex);
    if (!state_->is_held()) return;
    if (::rename(path.c_str(), gone.c_str()) != 0) throw io_error("remove", errno, escape_name(path));
    state_->lost = true;
  }
  remove_tree(gone);
}

void wait_for_locks_for_tests(std::chrono::milliseconds patience) {
  lock_patience = patience;
}

void PartialOutput::require_free(const std::string& target) {
  const std::string path = path_of(target), lock_path = join_path(path, kLock);
  require_ours(path);
  if (!find_status(lock_path, false)) return;
  const Fd lock = open_file(lock_path, O_RDWR);
  const Lock state = lock_unless_stale(path, lock.get());
  const std::optional<std::string> name = find_record(path);
  if (!name) return;
  const std::string record = join_path(path, *name);
  require_ended(path, read_record(record).value_or(PartialRecord()), state, age_of(record, lock.get()));
}

// A name that would be too long is cut and told apart by its hash.
std::string PartialOutput::path_of(const std::string& target) {
  if (is_mount_point(target)) return join_path(target, kPartialInside);
  std::string name(base_name(target));
  if (name.size() + kSuffix.size() > kLongestName) {
    Sha256 hash;
    hash.update(as_bytes(name));
    const std::string mark = "-" + to_hex(hash.finish()).substr(0, 16);
    std::size_t cut = kLongestName - kSuffix.size() - mark.size();
    while (cut > 0 && (static_cast<unsigned char>(name[cut]) & 0xC0U) == 0x80U)
      --cut;  // no half of a character
    name = name.substr(0, cut) + mark;
  }
  name += kSuffix;
  return target.find('/') == std::string::npos ? name : join_path(parent_of(target), name);
}

bool PartialOutput::is_one(const std::string& path) {
  if (!path.ends_with(kSuffix)) return false;
  try {
    const std::optional<PartialRecord> record = read_record(join_path(path, kRecord));
    return record && !record->id.empty();
  } catch (const Error&) {
    return false;
  }
}

}  // namespace mu
