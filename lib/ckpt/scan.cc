// SPDX-License-Identifier: Apache-2.0
// How a scan goes. Each run folder is listed once, and its entries are sorted into checkpoints to be judged,
// trackers, links, KEEP, and what killed runs left. Then all checkpoints of all runs are judged in parallel,
// each on its own (completeness.h), while one more job reads /proc for files that other processes write. Only
// when all are judged can they be compared within their run (siblings.h), in the order of their numbers. Last
// comes what needs the whole run: its logs (history.h), the free space, and which checkpoints links point to.
// An error ends only the run it belongs to, and becomes its `failure`; an error inside one checkpoint makes
// only that one unreadable.

#include "ckpt/scan.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <map>
#include <set>

#include "base/text.h"
#include "ckpt/completeness.h"
#include "ckpt/history.h"
#include "ckpt/siblings.h"
#include "ckpt/trackers.h"
#include "ckpt/walk.h"
#include "ckpt/writers.h"
#include "os/folder.h"
#include "os/mounts.h"
#include "os/stage_name.h"
#include "os/threads.h"

namespace mu {
namespace {

constexpr std::string_view kUnfinished = "-unfinished";

// A checkpoint that is being judged, and what only the scan needs to know about it.
struct Candidate {
  std::size_t run = 0;
  CheckpointFacts facts;
  std::vector<std::string> link_targets;  // targets of the links in it
  std::vector<FileId> files;              // all files in it, at any depth
  bool has_vanished = false;
  bool is_recognised = true;
  bool is_marked = false;  // an entry beside it says that it is not finished
};

// The target of a link; empty if it is broken, or if we may not look.
std::string real_path(const std::string& path) {
  try {
    return find_real_path(path).value_or("");
  } catch (const Error&) {
    return "";
  }
}

// The text of an error, with the path below the checkpoint where it happened.
std::string unreadable_text(const std::string& path, const Error& error) {
  const std::string inside = escape_name(path) + "/";
  const bool is_inside = error.file().starts_with(inside);
  return (is_inside ? error.file().substr(inside.size()) + ": " : "") + error.message();
}

// The current time by the clock that stamps files here: the clock of a file server may differ from ours.
std::int64_t file_system_now(const RunFolder& run, bool may_write) {
  struct stat status {};
  if (may_write) {
    Fd fd(::openat(run.fd.get(), ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
    if (fd.get() < 0) {  // network file systems have no O_TMPFILE
      const std::string name = stage_name("now", StageKind::kStage);
      fd = Fd(::openat(run.fd.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
      if (fd.get() >= 0) ::unlinkat(run.fd.get(), name.c_str(), 0);
    }
    if (fd.get() >= 0 && ::fstat(fd.get(), &status) == 0) return stamp_of(status).mtime_ns;
  }
  return static_cast<std::int64_t>(std::time(nullptr)) * kSecond;
}

class Scanner {
 public:
  Scanner(const std::vector<RunFolder>& runs, const CheckpointNames& names, const ScanOptions& options)
      : folders_(runs),
        names_(names),
        options_(options),
        runs_(runs.size()),
        links_(runs.size()),
        real_(runs.size()) {}

  std::vector<RunFacts> scan() {
    for (std::size_t i = 0; i < folders_.size(); ++i) guard(i, [&] { list_run(i); });
    // The job that reads /proc starts first: it takes the longest and depends on nothing else.
    std::map<FileId, std::string> open_files;
    std::set<dev_t> devices;
    for (const RunFolder& folder : folders_) devices.insert(folder.id.device);
    parallel_for(candidates_.size() + 1, options_.threads, [&](std::size_t i) {
      if (i > 0)
        look_at(candidates_[i - 1]);
      else if (candidates_.size() > 1)
        open_files = find_open_files(devices);
    });
    std::vector<std::vector<LookedAtEntry>> entries(runs_.size());
    for (Candidate& candidate : candidates_) {
      if (candidate.has_vanished || runs_[candidate.run].failure) continue;
      note_writer(open_files, candidate);
      for (std::string& target : candidate.link_targets)
        links_[candidate.run].emplace_back(join_path(real_[candidate.run], candidate.facts.name),
                                           std::move(target));
      entries[candidate.run].push_back(
          {std::move(candidate.facts), candidate.is_recognised || !names_.is_by_pattern()});
    }
    for (std::size_t i = 0; i < runs_.size(); ++i) take_checkpoints(std::move(entries[i]), runs_[i]);
    candidates_.clear();
    parallel_for(runs_.size(), options_.threads, [this](std::size_t i) {
      if (!runs_[i].failure) guard(i, [&] { finish_run(i); });
    });
    return std::move(runs_);
  }

 private:
  template <typename Action>
  void guard(std::size_t index, Action action) {
    try {
      action();
    } catch (const Error& error) {
      runs_[index] = {};
      runs_[index].path = folders_[index].path;
      runs_[index].failure = error;
    }
  }

  void list_run(std::size_t index) {
    const RunFolder& folder = folders_[index];
    RunFacts& run = runs_[index];
    run.path = folder.path;
    run.device = folder.id.device;
    run.is_by_pattern = names_.is_by_pattern();
    real_[index] = resolved_path(folder.path);
    std::set<std::string, std::less<>> marks;
    const std::size_t first = candidates_.size();
    for (auto& [name, listed_type] : list_at(folder.fd.get(), folder.path)) {
      if (name.ends_with(kUnfinished)) {
        marks.insert(name.substr(0, name.size() - kUnfinished.size()));
        if (listed_type == DT_REG) continue;
      }
      unsigned char type = listed_type;
      if (type == DT_UNKNOWN) {
        struct stat status {};
        if (::fstatat(folder.fd.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
        type = S_ISDIR(status.st_mode)   ? DT_DIR
               : S_ISLNK(status.st_mode) ? DT_LNK
               : S_ISREG(status.st_mode) ? DT_REG
                                         : DT_BLK;
      }
      if (type == DT_LNK) note_link(index, name);
      if (type == DT_LNK && names_the_last(name)) note_tracking_link(index, name);
      if (type == DT_REG && is_tracker_file(name)) note_tracker(index, name);
      if (name == "KEEP" && type == DT_REG) read_keep_file(run, folder);
      if (type == DT_DIR || type == DT_REG) note_leftover(run, folder, name);
      const bool is_staging =
          options_.staging && type == DT_DIR && !run.is_by_pattern && name.starts_with("tmp-checkpoint-");
      if ((type != DT_DIR && type != DT_REG) || !(is_staging || names_.matches(name, type == DT_DIR)))
        continue;
      Candidate& candidate = candidates_.emplace_back();
      candidate.run = index;
      candidate.facts.is_staging = is_staging;
      if (!is_staging) candidate.facts.number = names_.number_of(name);
      candidate.facts.is_file = type == DT_REG;
      candidate.facts.name = std::move(name);
    }
    for (std::size_t i = first; i < candidates_.size() && !marks.empty(); ++i) {
      const std::string& name = candidates_[i].facts.name;
      // NeMo names its marker of a file without the extension.
      candidates_[i].is_marked = marks.contains(name) || marks.contains(name.substr(0, name.rfind('.')));
    }
    note_links_beside(index);
  }

  static void read_keep_file(RunFacts& run, const RunFolder& folder) {
    constexpr std::uint64_t kMost = 1U << 20;  // bytes: far more names than one keeps by hand
    const std::string text = read_whole_file(join_path(folder.path, "KEEP"), kMost);
    for (const std::string_view line : split(text, '\n')) {
      if (!trim(line).empty() && !trim(line).starts_with('#')) run.keep_names.emplace_back(trim(line));
    }
  }

  static void note_leftover(RunFacts& run, const RunFolder& folder, const std::string& name) {
    const std::optional<StageName> stage = parse_stage_name(name);
    if (!stage || stage->kind != StageKind::kGone || stage->owner == StageOwner::kAlive) return;
    struct stat status {};
    if (::fstatat(folder.fd.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return;
    const FileStamp stamp = stamp_of(status);
    const std::int64_t age =
        static_cast<std::int64_t>(std::time(nullptr)) * kSecond - std::max(stamp.mtime_ns, stamp.ctime_ns);
    // If its name records what was judged, whoever holds the lock of the run may finish it.
    if (stage->owner == StageOwner::kElsewhere && !stage->judged && age < kForeignStageAge * kSecond) return;
    run.leftovers.push_back({name, stage->target, stage->judged});
  }

  // Uses the path by which the run was named: its real path may not be reachable.
  void note_link(std::size_t index, const std::string& name) {
    std::string target = real_path(join_path(folders_[index].path, name));
    if (!target.empty()) links_[index].emplace_back(join_path(real_[index], name), std::move(target));
  }

  // The entry of the run that a path leads to or below; empty if it leads elsewhere.
  std::string entry_at(std::size_t index, const std::string& path) const {
    const std::string target = real_path(path);
    if (!target.starts_with(real_[index] + "/")) return "";
    const std::string_view inside = std::string_view(target).substr(real_[index].size() + 1);
    return std::string(inside.substr(0, inside.find('/')));
  }

  void note_tracking_link(std::size_t index, const std::string& name) {
    const int folder = folders_[index].fd.get();
    Tracker tracker;
    tracker.name = name;
    std::array<char, 4096> target{};
    const ssize_t size = ::readlinkat(folder, name.c_str(), target.data(), target.size());
    struct stat status {};
    if (size < 0 || ::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return;
    tracker.says.assign(target.data(), static_cast<std::size_t>(size));
    tracker.entry = entry_at(index, join_path(folders_[index].path, name));
    tracker.changed_ns = stamp_of(status).mtime_ns;
    runs_[index].trackers.push_back(std::move(tracker));
  }

  void note_tracker(std::size_t index, const std::string& name) {
    std::optional<Tracker> tracker = read_tracker(folders_[index].fd.get(), name);
    if (!tracker) return;
    if (tracker->says.find('/') != std::string::npos)
      tracker->entry =
          entry_at(index, tracker->says.starts_with('/') ? tracker->says
                                                         : join_path(folders_[index].path, tracker->says));
    runs_[index].trackers.push_back(std::move(*tracker));
  }

  // A checkpoint whose own name says that it is the last one is a tracker too.
  static void note_own_trackers(RunFacts& run) {
    if (!run.is_by_pattern) return;
    for (const CheckpointFacts& checkpoint : run.checkpoints) {
      if (!checkpoint.is_complete() || !names_the_last(checkpoint.name)) continue;
      run.trackers.push_back(
          {checkpoint.name, checkpoint.name, checkpoint.name, std::nullopt, checkpoint.time_ns});
    }
  }

  // Links in the folder that holds the run: "latest -> run/checkpoint-300". If several runs lie side by side,
  // that folder is read once.
  void note_links_beside(std::size_t index) {
    const std::string parent = parent_of(real_[index]);
    const auto [found, fresh] = links_in_.try_emplace(parent);
    if (fresh) {
      const Fd fd(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (fd.get() < 0) return;  // we may not read it, so no link of ours is there either
      for (const auto& [name, type] : list_at(fd.get(), parent)) {
        if (type != DT_LNK) continue;
        const std::string link = join_path(parent, name);
        if (std::string target = real_path(link); !target.empty())
          found->second.emplace_back(link, std::move(target));
      }
    }
    links_[index].insert(links_[index].end(), found->second.begin(), found->second.end());
  }

  // A file that also has a name elsewhere counts: it is the same bytes.
  static void note_writer(const std::map<FileId, std::string>& open_files, Candidate& candidate) {
    if (open_files.empty()) return;
    for (const FileId& file : candidate.files) {
      if (const auto found = open_files.find(file); found != open_files.end())
        candidate.facts.writer = found->second;
    }
  }

  void look_at(Candidate& candidate) {
    const RunFolder& run = folders_[candidate.run];
    CheckpointFacts& facts = candidate.facts;
    try {
      if (facts.is_file)
        look_at_file(run, candidate);
      else
        look_at_folder(run, candidate);
      if (candidate.is_marked || is_unfinished_name(facts.name)) {
        facts.condition = Condition::kTorn;
        facts.why = candidate.is_marked ? "a mark beside it says that it is not finished"
                                        : "its name says that it is not finished";
      }
    } catch (const Error& error) {
      if (facts.time_ns == 0) facts.time_ns = facts.changed_ns;
      facts.condition = Condition::kUnreadable;
      facts.why = unreadable_text(join_path(run.path, facts.name), error);
    }
  }

  void look_at_file(const RunFolder& run, Candidate& candidate) {
    const std::optional<EntryStatus> found = find_entry_status(run.fd.get(), candidate.facts.name);
    if (!found && errno != ENOENT) throw io_error("look at", errno, escape_name(candidate.facts.name));
    if (!found || !S_ISREG(found->status.st_mode)) {
      candidate.has_vanished = true;
      return;
    }
    const struct stat& status = found->status;
    candidate.facts.has_mount = found->is_mount;
    candidate.facts.stamp = stamp_of(status);
    candidate.files = {candidate.facts.stamp.id};
    const WalkedEntry entry{candidate.facts.name,  WalkedEntry::Kind::kFile,
                            candidate.facts.stamp, static_cast<std::uint64_t>(status.st_size),
                            disk_bytes_of(status), static_cast<std::uint64_t>(status.st_nlink)};
    candidate.is_recognised = judge_file(run.fd.get(), join_path(run.path, entry.name), entry,
                                         {.is_trainer = false, .deep = options_.deep}, candidate.facts);
  }

  void look_at_folder(const RunFolder& run, Candidate& candidate) {
    CheckpointFacts& facts = candidate.facts;
    const std::string path = join_path(run.path, facts.name);
    struct stat status {};
    const bool found = ::fstatat(run.fd.get(), facts.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
    if (!found && errno != ENOENT) throw io_error("look at", errno, escape_name(path));
    if (!found || !S_ISDIR(status.st_mode)) {
      candidate.has_vanished = true;
      return;
    }
    facts.stamp = stamp_of(status);
    facts.changed_ns = facts.time_ns = facts.stamp.mtime_ns;
    facts.bytes = disk_bytes_of(status);
    const Fd fd(::openat(run.fd.get(), facts.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (fd.get() < 0) throw io_error("open", errno, escape_name(path));
    facts.has_mount = facts.stamp.id.device != run.id.device || is_mount_root(fd.get());
    const Walk walk = walk_folder(fd.get(), path);
    facts.time_ns = 0;
    candidate.is_recognised = judge_folder(
        fd.get(), path, walk, {.is_trainer = !names_.is_by_pattern(), .deep = options_.deep}, facts);
    if (facts.is_staging) {
      facts.condition = Condition::kTorn;
      facts.why = "left behind by a save that was cut off";
    }
    for (const WalkedEntry& entry : walk.entries) {
      if (entry.kind == WalkedEntry::Kind::kFile) candidate.files.push_back(entry.stamp.id);
      if (entry.kind != WalkedEntry::Kind::kLink) continue;
      std::string target = real_path(join_path(path, entry.name));
      if (!target.empty()) candidate.link_targets.push_back(std::move(target));
    }
  }

  void finish_run(std::size_t index) {
    RunFacts& run = runs_[index];
    const RunFolder& folder = folders_[index];
    run.now_ns = file_system_now(folder, options_.may_write);
    struct statvfs info {};
    if (::fstatvfs(folder.fd.get(), &info) != 0)
      throw io_error("find the free space", errno, escape_name(run.path));
    run.free_bytes = static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
    read_history(folder, {options_.metric, options_.lower_is_better}, run);
    note_own_trackers(run);
    for (const auto& [link, target] : links_[index]) protect_target(run, real_[index], link, target);
  }

  static void protect_target(RunFacts& run, const std::string& real, const std::string& link,
                             const std::string& target) {
    if (!target.starts_with(real + "/")) return;
    const std::string_view inside = std::string_view(target).substr(real.size() + 1);
    const std::string_view name = inside.substr(0, inside.find('/'));
    for (CheckpointFacts& checkpoint : run.checkpoints) {
      const bool own = link == join_path(real, checkpoint.name);
      if (checkpoint.name == name && !own) checkpoint.linked_by = link;
    }
  }

  const std::vector<RunFolder>& folders_;
  const CheckpointNames& names_;
  const ScanOptions& options_;
  std::vector<RunFacts> runs_;
  std::vector<std::vector<std::pair<std::string, std::string>>>
      links_;  // by run: the link (or the checkpoint that holds it) and its target
  std::map<std::string, std::vector<std::pair<std::string, std::string>>> links_in_;  // of folders above runs
  std::vector<std::string> real_;  // the real path of each run
  std::vector<Candidate> candidates_;
};

}  // namespace

std::vector<RunFacts> scan_runs(const std::vector<RunFolder>& runs, const CheckpointNames& names,
                                const ScanOptions& options) {
  return Scanner(runs, names, options).scan();
}

RunFacts scan_run(const std::string& path, const CheckpointNames& names, const ScanOptions& options) {
  const FoundRuns found = find_runs({path}, false, names);
  for (const std::vector<Error>& errors : {found.missing, found.failures}) {
    if (!errors.empty()) throw Error(errors.front());
  }
  std::vector<RunFacts> runs = scan_runs(found.runs, names, options);
  if (runs.front().failure) throw Error(*runs.front().failure);
  return std::move(runs.front());
}

std::string newest_checkpoint(const std::string& run) {
  const RunFacts facts = scan_run(run, CheckpointNames(), {});
  std::string newest;
  for (const CheckpointFacts& checkpoint : facts.checkpoints) {
    if (checkpoint.is_complete() && !checkpoint.writer) newest = checkpoint.name;
  }
  return newest;
}

}  // namespace mu
