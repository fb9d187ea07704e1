// SPDX-License-Identifier: Apache-2.0
// A stage is a file or folder beside its target, with a name of its own (stage_name.h), and commit() is what
// makes it the target: sync, one rename, sync of the folder. Before that, a crash leaves the target as it
// was.
//
// - A file takes the place of another by a rename.
//
// - A folder can't be renamed over one that is not empty: both are exchanged in one step (renameat2
// EXCHANGE), or, where the file system can't do that, the old one is renamed aside first and the new one
// takes its place.
//
// - A target that is a mount point can't be renamed at all: the stage lies in it, and the files move one by
// one.
//
// What the old folder held goes only afterwards, by an inventory that was made before (replace_folder.h).
//
// The constructors remove what killed runs left (clean_stale_stages): a stage whose owner is gone, and a
// folder that was renamed aside, which is put back if its target is missing. Whose stage it is follows from
// its name, never from a lock; one of another host is taken to be in use for a day.
//
// A stage in a lasting place holds what was written, and only that. Before it is exchanged with an old folder, or its files
// are, it becomes an ordinary stage: else a later process would go on with what was replaced.
#include "os/stage.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <filesystem>

#include "base/error.h"
#include "base/text.h"
#include "os/blobs.h"
#include "os/copy.h"
#include "os/folder.h"
#include "os/mounts.h"
#include "os/remove_tree.h"
#include "os/rename.h"
#include "os/stage_name.h"

namespace mu {
namespace {

bool exchange_disabled = false;

Error already_exists(const std::string& path, std::string_view what) {
  return refused(std::string(what)).in_file(escape_name(path)).hint("--force replaces it");
}

void require_parent(const std::string& path) {
  const std::string parent = parent_of(path);
  if (!is_folder(parent))
    throw io_error("write there", exists(parent) ? ENOTDIR : ENOENT, escape_name(parent));
}

void rename_or_throw(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw io_error("rename into place", errno, escape_name(to));
}

// Puts a file where another may be. The other one, if there is one, then lies where this one did.
void exchange_or_throw(const std::string& from, const std::string& to) {
  if (!exchange_disabled && ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0)
    return;
  if (!exchange_disabled && errno != ENOENT && errno != EINVAL && errno != ENOSYS)
    throw io_error("rename into place", errno, escape_name(to));
  if (rename_new(from, to)) return;
  const std::string aside = from + ".old";
  rename_or_throw(to, aside);
  rename_or_throw(from, to);
  rename_or_throw(aside, from);
}

// What a replaced file or folder hands on: its mode, but no right to act as another user or group.
mode_t handed_mode(const struct stat& old, const struct stat& fresh) {
  const bool same_owner = old.st_uid == fresh.st_uid && old.st_gid == fresh.st_gid;
  return old.st_mode & (same_owner ? 07777 : 01777);
}

void hand_on_mode(const struct stat& old, int fd) {
  struct stat fresh {};
  if (::fstat(fd, &fresh) == 0) ::fchmod(fd, handed_mode(old, fresh));
}

OutputFile create_file(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (fd.get() < 0) throw io_error("write", errno, escape_name(path));
  return {std::move(fd), path};
}

// A file of an earlier process, or a new one. It has no other name: a hard link would be to a file of somebody else.
OutputFile reopen_file(const std::string& path) {
  const std::optional<struct stat> status = find_status(path, false);
  if (!status) return create_file(path);
  Fd fd(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (fd.get() < 0 && errno != ELOOP) throw io_error("write", errno, escape_name(path));
  struct stat opened {};
  if (fd.get() < 0 || ::fstat(fd.get(), &opened) != 0 || !S_ISREG(opened.st_mode) || opened.st_nlink != 1)
    throw refused("is not a file that an earlier run left here")
        .in_file(escape_name(path))
        .hint("--force starts anew");
  return {std::move(fd), path};
}

void make_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0777) != 0) throw io_error("make the folder", errno, escape_name(path));
}

// The folders above a file that lies somewhere below `root`.
void make_folders_below(const std::string& root, const std::string& name) {
  for (std::size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
    const std::string folder = join_path(root, name.substr(0, slash));
    const std::optional<struct stat> status = find_status(folder, false);
    if (!status || !S_ISDIR(status->st_mode)) make_folder(folder);
  }
}

const std::string& safe_name(const std::string& name) {
  const std::vector<std::string_view> parts = split(name, '/');
  const bool unsafe = std::any_of(parts.begin(), parts.end(), [](std::string_view part) {
    return part.empty() || part == "." || part == ".." || part.find('\0') != std::string_view::npos;
  });
  if (unsafe) throw refused("the name '" + escape_name(name) + "' leads out of the folder");
  return name;
}

// Our own stage: no folder in it is one of somebody else's, or a link.
void sync_folders(const std::string& folder) {
  for (const FolderEntry& entry : list_folder(folder)) {
    if (entry.kind == FolderEntry::Kind::kFolder && !entry.is_link)
      sync_folders(join_path(folder, entry.name));
  }
  sync_folder(folder);
}

std::string stage_beside(const std::string& target) {
  clean_stale_stages(parent_of(target));
  return join_path(parent_of(target), stage_name(base_name(target), StageKind::kStage));
}

std::string read_link(const std::string& path) {
  std::error_code failed;
  const std::string text = std::filesystem::read_symlink(path, failed).string();
  if (failed) throw io_error("follow the link", failed.value(), escape_name(path));
  return text;
}

// Cleaning up must not hide why it is needed.
void remove_quietly(const std::string& path) noexcept {
  try {
    remove_tree(path);
  } catch (...) {  // the next run tries again
  }
}

bool is_old(const std::string& path) {
  const std::optional<struct stat> status = find_status(path, false);
  return status && std::time(nullptr) - status->st_mtime > kForeignStageAge;
}

// What can't be cleaned up now (another owner, a busy mount) does not stop the work: the next run tries again.
void clean_one(const std::string& folder, const std::string& path, const StageName& stage) {
  try {
    if (stage.kind == StageKind::kAside && rename_new(path, join_path(folder, stage.target))) return;
    remove_tree_interruptibly(path);
  } catch (const Error&) {
    return;  // never lose what may be the only copy
  }
}

// A hard link, or a copy where links are refused.
void link_or_copy(const std::string& from, const std::string& to) {
  if (::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0) == 0) return;
  struct stat status {};
  if (::lstat(from.c_str(), &status) != 0 || !S_ISREG(status.st_mode))
    throw io_error("keep", errno, escape_name(from));
  const InputFile in(from);
  OutputFile out = create_file(to);
  copy_file(in, out, {});
  hand_on_mode(status, out.fd());
  out.sync();
}

}  // namespace

std::string real_target(const std::string& target) {
  const std::string tidy = tidy_path(target);
  const std::string name(base_name(tidy));
  const std::optional<std::string> parent = find_real_path(parent_of(tidy));
  if (!parent) return tidy;  // the place can't be written to, which its user will notice
  const Error among_blobs = refused("lies among blobs, which are named by the hash of their bytes")
                                .in_file(escape_name(target))
                                .hint("write elsewhere");
  if (lies_in_blobs(join_path(*parent, name))) throw among_blobs;
  const std::optional<struct stat> status = find_status(tidy, false);
  if (!status || !S_ISLNK(status->st_mode)) return tidy;
  const std::optional<std::string> end = find_real_path(tidy);
  const std::filesystem::path leads_to =
      end ? std::filesystem::path(*end) : std::filesystem::path(*parent) / read_link(tidy);
  if (lies_in_blobs(leads_to.lexically_normal().string())) {
    if (is_folder(tidy)) throw among_blobs;
    return tidy;  // the link is replaced, not the blob
  }
  if (!end) throw io_error("follow the link", ENOENT, escape_name(target));
  return *end;
}

void disable_exchange_for_tests(bool disabled) {
  exchange_disabled = disabled;
}

void clean_stale_stages(const std::string& folder) {
  for (const FolderEntry& entry : list_folder(folder)) {
    if (!entry.name.starts_with('.')) continue;
    const std::optional<StageName> stage = parse_stage_name(entry.name);
    const std::string path = join_path(folder, entry.name);
    if (!stage || stage->owner == StageOwner::kAlive) continue;
    if (stage->owner == StageOwner::kElsewhere && !is_old(path)) continue;
    if (stage->judged) continue;  // a checkpoint: the next prune of its run judges it first
    clean_one(folder, path, *stage);
  }
}

StagedFile::StagedFile(const std::string& target, bool force, const std::string& lasting)
    : target_(real_target(target)), force_(force), lasts_(!lasting.empty()), file_(Fd(), "") {
  require_parent(target_);
  if (is_folder(target_)) throw refused("is a folder").in_file(escape_name(target_));
  if (!force && exists(target_)) throw already_exists(target_, "already exists");
  if (const std::optional<struct stat> status = find_status(target_); status && !S_ISREG(status->st_mode))
    throw refused("is not a regular file").in_file(escape_name(target_));
  stage_ = lasts_ ? lasting : stage_beside(target_);
  file_ = lasts_ ? reopen_file(stage_) : create_file(stage_);
}

StagedFile::~StagedFile() {
  if (!committed_ && !lasts_) ::unlink(stage_.c_str());
}

void StagedFile::commit() {
  if (const std::optional<struct stat> old = find_status(target_)) hand_on_mode(*old, file_.fd());
  file_.sync();
  if (force_) {
    rename_or_throw(stage_, target_);
  } else if (!rename_new(stage_, target_)) {
    throw already_exists(target_, "exists by now");
  }
  committed_ = true;
  sync_folder(parent_of(target_));
}

void require_free_folder(const std::string& target, bool force) {
  if (!exists(target)) return;
  if (!is_folder(target)) throw refused("is not a folder").in_file(escape_name(target));
  if (force) return;
  const bool is_mount = is_mount_point(target);
  for (const FolderEntry& entry : list_folder(target)) {
    if (!is_mount || entry.name != kPartialInside) throw already_exists(target, "is not empty");
  }
}

StagedFolder::StagedFolder(const std::string& target, bool force, const std::string& lasting)
    : target_(real_target(target)), force_(force), lasts_(!lasting.empty()) {
  require_parent(target_);
  if (exists(target_)) {
    if (is_folder(target_)) clean_stale_stages(target_);
    require_free_folder(target_, force);
    in_place_ = is_mount_point(target_);
    if (force) planned_ = Inventory(target_);
  }
  stage_ = lasts_ ? lasting : own_place();
  if (const std::optional<struct stat> status = find_status(stage_, false);
      !status || !S_ISDIR(status->st_mode))
    make_folder(stage_);
}

StagedFolder::~StagedFolder() {
  if (!committed_ && !lasts_) remove_quietly(stage_);
}

std::string StagedFolder::own_place() const {
  return in_place_ ? join_path(target_, stage_name("out", StageKind::kStage)) : stage_beside(target_);
}

OutputFile StagedFolder::create(const std::string& name) {
  created_.push_back(name);
  prepare(name);
  return create_file(join_path(stage_, name));
}

OutputFile StagedFolder::reopen(const std::string& name) {
  created_.push_back(name);
  make_folders_below(stage_, safe_name(name));
  return reopen_file(join_path(stage_, name));
}

// Makes room for a file of that name.
void StagedFolder::prepare(const std::string& name) {
  make_folders_below(stage_, safe_name(name));
  if (lasts_) remove_tree(join_path(stage_, name));
}

std::string StagedFolder::path_of(const std::string& name) const {
  return join_path(stage_, name);
}

void StagedFolder::keep(const std::string& name) {
  if (in_place_) return;  // it stays where it is
  kept_.push_back(name);
  prepare(name);
  link_or_copy(join_path(target_, name), join_path(stage_, name));
}

void StagedFolder::adopt(const std::string& path, const std::string& name) {
  created_.push_back(name);
  prepare(name);
  link_or_copy(path, join_path(stage_, name));
}

// Files and folders that an earlier process made and this one did not. Lists are short: files of a model.
void StagedFolder::remove_unnamed(const std::string& prefix) {
  const auto is_named = [this](const std::string& path, const FolderEntry& entry) {
    const auto same = [&](const std::string& name) {
      return name == path || (entry.kind == FolderEntry::Kind::kFolder && name.starts_with(path + "/"));
    };
    return std::any_of(created_.begin(), created_.end(), same) ||
           std::any_of(kept_.begin(), kept_.end(), same);
  };
  for (const FolderEntry& entry : list_folder(join_path(stage_, prefix))) {
    const std::string path = prefix + entry.name;
    if (!is_named(path, entry)) {
      remove_tree(join_path(stage_, path));
    } else if (entry.kind == FolderEntry::Kind::kFolder) {
      remove_unnamed(path + "/");
    }
  }
}

void StagedFolder::leave_lasting() {
  if (!lasts_) return;
  const std::string place = own_place();
  rename_or_throw(stage_, place);
  stage_ = place;
  lasts_ = false;
}

void StagedFolder::commit(const std::vector<std::string>& removed) {
  if (lasts_) remove_unnamed("");
  sync_folders(stage_);
  if (in_place_) return commit_in_place(removed);
  const std::optional<struct stat> old = find_status(target_);
  const std::optional<struct stat> fresh = find_status(stage_);
  if (old && fresh) ::chmod(stage_.c_str(), handed_mode(*old, *fresh));
  // An empty folder is simply taken over; so is a missing one.
  std::string replaced;
  if (::rename(stage_.c_str(), target_.c_str()) != 0) {
    if (errno != ENOTEMPTY && errno != EEXIST)
      throw io_error("rename into place", errno, escape_name(target_));
    if (!force_) throw already_exists(target_, "exists by now");
    leave_lasting();
    replaced = exchange();
  }
  committed_ = true;
  sync_folder(parent_of(target_));
  if (!replaced.empty()) retire_folder(replaced, target_, planned_, our_names(removed), target_ + ".old");
}

std::set<std::string> StagedFolder::our_names(const std::vector<std::string>& removed) const {
  std::set<std::string> names;
  for (const std::vector<std::string>* list : {&removed, &kept_, &created_}) {
    for (const std::string& name : *list) names.insert(name.substr(0, name.find('/')));
  }
  return names;
}

// Returns where the old folder lies now.
std::string StagedFolder::exchange() {
  if (!exchange_disabled &&
      ::renameat2(AT_FDCWD, stage_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) == 0)
    return stage_;  // the old folder now bears the stage's name
  if (!exchange_disabled && errno != EINVAL && errno != ENOSYS)
    throw io_error("exchange the folders", errno, escape_name(target_));
  std::string aside = join_path(parent_of(target_), stage_name(base_name(target_), StageKind::kAside));
  rename_or_throw(target_, aside);
  if (::rename(stage_.c_str(), target_.c_str()) != 0) {
    const int reason = errno;
    rename_or_throw(aside, target_);
    throw io_error("rename into place", reason, escape_name(target_));
  }
  return aside;
}

bool StagedFolder::commit_if_first() {
  if (lasts_) remove_unnamed("");
  sync_folders(stage_);
  if (::rename(stage_.c_str(), target_.c_str()) != 0) {
    if (errno == ENOTEMPTY || errno == EEXIST) return false;
    throw io_error("rename into place", errno, escape_name(target_));
  }
  committed_ = true;
  sync_folder(parent_of(target_));
  return true;
}

// File by file. What was there is moved into the stage, which is emptied like a folder that was replaced.
void StagedFolder::commit_in_place(const std::vector<std::string>& removed) {
  leave_lasting();
  for (const std::string& name : created_) {
    make_folders_below(target_, name);
    exchange_or_throw(join_path(stage_, name), join_path(target_, name));
  }
  for (const std::string& name : removed) {
    const bool written = std::any_of(created_.begin(), created_.end(), [&name](const std::string& created) {
      return created == name || created.starts_with(name + "/");
    });
    if (written) continue;
    make_folders_below(stage_, name);
    rename_new(join_path(target_, name), join_path(stage_, name));
  }
  committed_ = true;
  for (const std::string& name : created_) {
    if (name.find('/') != std::string::npos) sync_folder(parent_of(join_path(target_, name)));
  }
  sync_folder(target_);
  retire_folder(stage_, target_, planned_, our_names(removed), join_path(target_, "replaced"));
}

}  // namespace mu
