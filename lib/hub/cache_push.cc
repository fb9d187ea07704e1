// SPDX-License-Identifier: Apache-2.0
#include "hub/cache_push.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/bytes.h"
#include "base/error.h"
#include "base/sizes.h"
#include "base/text.h"
#include "hash/git_blob.h"
#include "hub/attributes.h"
#include "hub/ignored.h"
#include "hub/snapshot_id.h"
#include "model/hf_cache.h"
#include "os/blobs.h"
#include "os/copy.h"
#include "os/folder.h"
#include "os/lock.h"
#include "os/remove_tree.h"
#include "os/stage.h"
#include "os/stage_name.h"
#include "os/threads.h"

namespace mu {
namespace {

constexpr std::string_view kTag =
    "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of the Hugging Face libraries.\n";

// Whether the Hub would keep a file in LFS: by its rules, its size, or bytes that are no text.
bool wants_lfs(const Attributes& rules, const LocalFile& file) {
  if (rules.wants_lfs(file.name) || file.stamp.size >= kMaxRegularFile) return true;
  std::string head(static_cast<std::size_t>(std::min<std::uint64_t>(file.stamp.size, kSampleBytes)), '\0');
  InputFile(file.path).read_at(0, std::as_writable_bytes(std::span(head)));
  return head.find('\0') != std::string::npos;
}

void rename_over(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw io_error("rename into place", errno, escape_name(to));
}

void write_file(const std::string& path, std::span<const std::byte> bytes) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (fd.get() < 0) throw io_error("write", errno, escape_name(path));
  OutputFile(std::move(fd), path).write_at(0, bytes);
}

// Everything written to a disk so far, at once: cheaper than file by file.
void sync_disk(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0 || ::syncfs(fd.get()) != 0) throw io_error("sync", errno, escape_name(path));
}

// A folder in the repository's for what is not yet whole; gone with the object, or with the next push.
class Workshop {
 public:
  explicit Workshop(const std::string& repo) : path_(join_path(repo, stage_name("push", StageKind::kStage))) {
    clean_stale_stages(repo);
    make_folders(path_);
  }
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;
  ~Workshop() {
    try {
      remove_tree(path_);
    } catch (const Error&) {  // the next push tries again
    }
  }
  [[nodiscard]] std::string path(std::string_view name) const { return join_path(path_, name); }

 private:
  std::string path_;
};

class CachePush {
 public:
  CachePush(const std::string& cache_folder, const FileChoice& choice, HashCache& cache,
            const PushOptions& options, const PushListener& listener)
      : choice_(choice),
        cache_(cache),
        o_(options),
        listener_(listener),
        repo_(cache_folder, cached_repo_name(repo_type_name(options.repo.type), options.repo.id)) {}

  PushResult run() {
    if (o_.create_pr) throw usage("a cache folder knows no pull requests");
    enforce_guard(guard_files(choice_, o_.repo.type == RepoType::kModel, o_.jobs, cache_, listener_.detail),
                  o_.allowed, listener_.warning);
    const std::optional<FileLock> lock = o_.dry_run ? std::nullopt : std::optional(lock_repo());
    find_base();
    make_plan();
    if (o_.dry_run) {
      result_.url = "file://" + repo_.snapshot_path(base_.value_or(""));
      return std::move(result_);
    }
    if (base_ && !result_.plan.has_changes() && repo_.find_revision(o_.revision) == base_) {
      head_ = *base_;
      // The libraries take a ref as it is written, blanks and line ends included.
      if (!repo_.is_exact(o_.revision, head_)) {
        listener_.note(fmt::format("mended the ref {}", escape_name(o_.revision)));
        write_ref(o_.revision, head_);
      }
    } else {
      write();
    }
    result_.url = "file://" + repo_.snapshot_path(head_);
    if (o_.verify) verify();
    if (!o_.tag.empty()) write_ref(o_.tag, head_);
    if (o_.prune) prune();
    return std::move(result_);
  }

 private:
  std::string lock_path(std::string_view name) const {
    return join_path(join_path(join_path(repo_.cache(), ".locks"), repo_.name()), name);
  }

  // The cache itself, and the lock that keeps a second push out.
  FileLock lock_repo() {
    if (!repo_.is_there()) {
      if (!o_.create)
        throw Error(ErrorKind::kRemote,
                    fmt::format("there is no {} in the cache", escape_name(repo_.name())));
      result_.created_repo = true;
    }
    make_folders(repo_.cache());
    if (const std::string tag = join_path(repo_.cache(), "CACHEDIR.TAG"); !exists(tag)) {
      StagedFile staged(tag, true);
      staged.file().write_at(0, as_bytes(kTag));
      staged.commit();
    }
    make_folders(parent_of(lock_path("x")));
    return FileLock(lock_path("push.lock"));
  }

  void find_base() {
    base_ = repo_.find_revision(o_.revision);
    if (!o_.expected_parent.empty() && !base_.value_or("").starts_with(o_.expected_parent))
      throw Error(ErrorKind::kRemote, fmt::format("{} is at {}, not at {}", escape_name(o_.revision),
                                                  base_.value_or("no snapshot"), o_.expected_parent))
          .hint("somebody else has pushed: look at it, then name the new one");
    if (!base_ && o_.revision != "main") base_ = repo_.find_revision("main");
    if (base_) old_ = repo_.files(*base_, listener_.warning);
  }

  const CachedFile* find_old(std::string_view name) const {
    const auto at =
        std::lower_bound(old_.begin(), old_.end(), name,
                         [](const CachedFile& file, std::string_view wanted) { return file.name < wanted; });
    return at != old_.end() && at->name == name ? &*at : nullptr;
  }

  // The text of a file at the root as it will be: ours, else the old one.
  std::optional<std::string> future_root_file(std::string_view name) const {
    if (std::optional<std::string> own = root_file(choice_, name)) return own;
    const CachedFile* old = find_old(name);
    if (old == nullptr || old->size > kMaxRegularFile) return std::nullopt;
    return read_whole_file(join_path(repo_.snapshot_path(*base_), name), kMaxRegularFile);
  }

  void make_plan() {
    std::optional<std::string> attributes = future_root_file(kAttributes);
    const bool fresh = old_.empty() && !attributes;
    const std::string text = attributes.value_or(default_attributes());
    const Attributes rules(text);
    const bool no_list =
        !root_file(choice_, ".gitignore") && is_deleted(o_.deletions, o_.prefix, ".gitignore");
    const IgnoreRules ignored(no_list ? "" : future_root_file(".gitignore").value_or(""));
    give_hashes(rules);

    std::vector<PreuploadAnswer> answers(choice_.files.size());
    std::vector<WantedHashes> wanted(choice_.files.size());
    std::vector<std::string> in_lfs;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const LocalFile& file = choice_.files[i];
      const CachedFile* old = find_old(file.name);
      answers[i] = {wants_lfs(rules, file), ignored.ignores(file.name), old != nullptr ? old->hash : ""};
      if (answers[i].ignored) continue;
      wanted[i] = {.sha256 = answers[i].lfs, .blob = !answers[i].lfs};
      if (answers[i].lfs) in_lfs.push_back(file.name);
    }
    const std::vector<FileHashes> hashes = hash_files(choice_, wanted, cache_, listener_);
    std::vector<RemoteFile> remote;
    for (const CachedFile& old : old_)
      remote.push_back({old.name, old.size, old.is_lfs() ? "" : old.hash, old.is_lfs() ? old.hash : ""});
    result_.plan = plan_push(choice_, answers, hashes, remote, o_.deletions, o_.prefix);
    tell_ignored(result_.plan, o_.allowed, listener_.note, listener_.warning);
    if (fresh || attributes) amend_attributes(text, in_lfs, fresh);
    find_damage();
    take_plan();
  }

  // A .gitattributes that was amended is the same; blobs that are not what their names say are written anew.
  void find_damage() {
    for (PushItem& item : result_.plan.items) {
      if (item.local == nullptr || item.action == PushAction::kIgnored) continue;
      const CachedFile* old = find_old(item.name);
      if (item.name == kAttributes && attributes_ && old != nullptr &&
          old->hash == git_object_id("blob", as_bytes(*attributes_)))
        item.action = PushAction::kSame;
      const std::string& hash = item.action == PushAction::kSame && old != nullptr ? old->hash : item.oid;
      if (plain_.contains(hash) || !exists(repo_.blob_path(hash))) continue;
      if (item.name == kAttributes && hash != item.oid) continue;
      if (is_whole(hash, item.size)) continue;
      listener_.warning(escape_name(item.name) + ": its copy in the cache is damaged, and is written anew");
      damaged_.insert(hash);
      if (item.action == PushAction::kSame) item.action = PushAction::kChanged;
    }
  }

  // By its size; with --verify by its bytes.
  [[nodiscard]] bool is_whole(const std::string& hash, std::uint64_t size) const {
    const std::string path = repo_.blob_path(hash);
    const FileStamp stamp = stamp_of(path);
    if (stamp.size != size) return false;
    if (!o_.verify) return true;
    const bool lfs = hash.size() == 64;
    const FileHashes hashes = hash_file(path, stamp, {.sha256 = lfs, .blob = !lfs}, {});
    return (lfs ? hashes.sha256 : hashes.blob) == hash;
  }

  // Plain files in a snapshot, which the libraries write where links can't be had, become blobs.
  void give_hashes(const Attributes& rules) {
    for (CachedFile& old : old_) {
      if (!old.hash.empty()) continue;
      const std::string path = join_path(repo_.snapshot_path(*base_), old.name);
      const LocalFile file{path, old.name, stamp_of(path)};
      const bool lfs = wants_lfs(rules, file);
      const FileHashes hashes = hash_file(path, file.stamp, {.sha256 = lfs, .blob = !lfs}, {});
      old.hash = lfs ? hashes.sha256 : hashes.blob;
      plain_.emplace(old.hash, file);
    }
  }

  // As the Hub does: a new repository gets the default rules, and paths in LFS that no rule covers get one.
  void amend_attributes(const std::string& text, const std::vector<std::string>& in_lfs, bool fresh) {
    std::string amended = attributes_covering(text, in_lfs);
    if (amended == text && !fresh) return;
    const bool ours = std::any_of(choice_.files.begin(), choice_.files.end(),
                                  [](const LocalFile& file) { return file.name == kAttributes; });
    if (ours && amended == text) return;
    attributes_ = std::move(amended);
  }

  // The files of the new snapshot, and where each blob comes from.
  void take_plan() {
    std::map<std::string, CachedFile> files;
    for (const CachedFile& old : old_) files[old.name] = old;
    for (const PushItem& item : result_.plan.items) {
      if (item.action == PushAction::kDelete) files.erase(item.name);
      if (item.action != PushAction::kNew && item.action != PushAction::kChanged) continue;
      files[item.name] = {item.name, item.oid, item.size};
      sources_.emplace(item.oid, *item.local);
    }
    if (attributes_) {
      attributes_hash_ = git_object_id("blob", as_bytes(*attributes_));
      files[std::string(kAttributes)] = {std::string(kAttributes), attributes_hash_, attributes_->size()};
    }
    sources_.insert(plain_.begin(), plain_.end());
    for (auto& [name, file] : files) new_.push_back(std::move(file));
    for (const auto& [hash, file] : sources_) {
      if (!has_blob(hash, file.stamp.size)) result_.bytes_to_send += file.stamp.size;
    }
    check_folders();
  }

  // No path may be a file and a folder at once.
  void check_folders() const {
    for (std::size_t i = 0; i + 1 < new_.size(); ++i) {
      const auto below = std::lower_bound(
          new_.begin(), new_.end(), new_[i].name + "/",
          [](const CachedFile& file, const std::string& wanted) { return file.name < wanted; });
      if (below != new_.end() && below->name.starts_with(new_[i].name + "/"))
        throw Error(ErrorKind::kRemote, fmt::format("{} would be a file and a folder at once: {}",
                                                    escape_name(new_[i].name), escape_name(below->name)))
            .hint(fmt::format("remove it with --delete '{}'", escape_name(new_[i].name)));
    }
  }

  [[nodiscard]] bool has_blob(const std::string& hash, std::uint64_t size) const {
    const std::string path = repo_.blob_path(hash);
    return exists(path) && stamp_of(path).size == size && !damaged_.contains(hash);
  }

  void write() {
    for (const char* part : {"snapshots", "blobs", "refs"}) make_folders(join_path(repo_.folder(), part));
    const Workshop workshop(repo_.folder());
    write_blobs(workshop);
    head_ = snapshot_id(new_);
    write_snapshot(workshop);
    sync_disk(repo_.folder());
    put_snapshot(workshop);
    write_ref(o_.revision, head_);
    result_.commits.push_back(head_);
  }

  void write_blobs(const Workshop& workshop) {
    std::vector<std::pair<std::string, const LocalFile*>> missing;
    for (const auto& [hash, file] : sources_) {
      if (has_blob(hash, file.stamp.size))
        result_.counts.stored_before += file.stamp.size;
      else
        missing.emplace_back(hash, &file);
    }
    require_space(repo_.folder(), o_.link ? 0 : result_.bytes_to_send);
    const std::function<void(std::uint64_t)> on_bytes = listener_.progress("writing", result_.bytes_to_send);
    parallel_for(missing.size(), o_.jobs, [&](std::size_t i) {
      write_blob(workshop.path(missing[i].first), missing[i].first, *missing[i].second, on_bytes);
    });
    if (attributes_ && !has_blob(attributes_hash_, attributes_->size())) {
      write_file(workshop.path(attributes_hash_), as_bytes(*attributes_));
      missing.emplace_back(attributes_hash_, nullptr);
    }
    sync_disk(repo_.folder());
    for (const auto& [hash, file] : missing) {
      rename_over(workshop.path(hash), repo_.blob_path(hash));
      if (file != nullptr) result_.counts.sent += file->stamp.size;
    }
  }

  void write_blob(const std::string& path, const std::string& hash, const LocalFile& file,
                  const std::function<void(std::uint64_t)>& on_bytes) const {
    // Held while it is written, as a download does. One that another holds is written all the same: whoever
    // comes last puts the same bytes there.
    std::optional<FileLock> lock;
    try {
      lock.emplace(lock_path(hash + ".lock"));
    } catch (const Error&) {
    }
    const InputFile in(file.path);
    const auto require_same = [&] {
      if (in.stamp() != file.stamp)
        throw Error(ErrorKind::kTemporary, "changed while it was pushed")
            .in_file(escape_name(file.path))
            .hint("nothing was published; run the same command again");
    };
    if (o_.link) {
      require_same();
      const std::string open_file = fmt::format("/proc/self/fd/{}", in.fd()->get());
      if (::linkat(AT_FDCWD, open_file.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0) {
        on_bytes(file.stamp.size);
        return;
      }
      if (errno != EXDEV && errno != EPERM && errno != EMLINK)
        throw io_error("link", errno, escape_name(file.path));
      listener_.detail(escape_name(file.path) + ": can't be linked from there; copied");
    }
    require_same();
    Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (fd.get() < 0) throw io_error("write", errno, escape_name(path));
    OutputFile out(std::move(fd), path);
    copy_file(in, out, on_bytes);
    require_same();
  }

  // Links into blobs/, in folders as the names have them.
  void write_snapshot(const Workshop& workshop) const {
    const std::string root = workshop.path("snapshot");
    make_folders(root);
    std::string made;
    for (const CachedFile& file : new_) {
      const std::string path = join_path(root, file.name);
      if (parent_of(path) != made) make_folders(made = parent_of(path));
      std::string target = "../../blobs/" + file.hash;
      for (std::size_t i = 0;
           i < static_cast<std::size_t>(std::count(file.name.begin(), file.name.end(), '/')); ++i)
        target = "../" + target;
      if (::symlink(target.c_str(), path.c_str()) != 0) throw io_error("link", errno, escape_name(path));
    }
  }

  void put_snapshot(const Workshop& workshop) const {
    const std::string target = repo_.snapshot_path(head_);
    if (::rename(workshop.path("snapshot").c_str(), target.c_str()) == 0)
      return sync_folder(parent_of(target));
    if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR)
      throw io_error("rename into place", errno, escape_name(target));
    // The same content was pushed before. What lies there may have lost a file since.
    if (::renameat2(AT_FDCWD, workshop.path("snapshot").c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) !=
        0) {
      rename_over(target, workshop.path("old"));
      rename_over(workshop.path("snapshot"), target);
    }
    sync_folder(parent_of(target));
  }

  // Not beside the ref: whatever lies in refs/ is a ref.
  void write_ref(const std::string& revision, const std::string& commit) const {
    const std::string path = repo_.ref_path(revision);
    const Workshop workshop(repo_.folder());
    write_file(workshop.path("ref"), as_bytes(commit));
    sync_disk(repo_.folder());
    make_folders(parent_of(path));
    rename_over(workshop.path("ref"), path);
    sync_folder(parent_of(path));
  }

  // Every file pushed, read back through the snapshot.
  void verify() {
    require_parts(result_.plan);
    std::vector<PushItem> kept;
    for (const PushItem& item : result_.plan.items) {
      if (item.local != nullptr && item.action != PushAction::kIgnored) kept.push_back(item);
    }
    parallel_for(kept.size(), o_.jobs, [&](std::size_t i) {
      PushItem& item = kept[i];
      const std::string path = join_path(repo_.snapshot_path(head_), item.name);
      const FileHashes hashes = hash_file(path, stamp_of(path), {.sha256 = true, .blob = true}, {});
      if ((item.storage == Storage::kLfs ? hashes.sha256 : hashes.blob) != item.oid &&
          item.name != kAttributes)
        throw Error(ErrorKind::kAnswerNo, "differs from what was pushed").in_file(escape_name(path));
      item.oid = hashes.sha256;
    });
    result_.verified = std::move(kept);
  }

  // Snapshots that no ref names, what is known of files they lack, and blobs of no snapshot.
  void prune() const {
    std::set<std::string> named = {head_};
    for (const auto& [revision, commit] : repo_.refs()) named.insert(commit);
    std::set<std::string> used;
    std::size_t snapshots = 0, blobs = 0;
    std::uint64_t bytes = 0;
    const Workshop workshop(repo_.folder());
    for (const FolderEntry& entry : list_folder(join_path(repo_.folder(), "snapshots"))) {
      if (named.contains(entry.name)) {
        for (const CachedFile& file : repo_.files(entry.name, listener_.warning)) used.insert(file.hash);
        continue;
      }
      rename_over(repo_.snapshot_path(entry.name), workshop.path("snapshot-" + entry.name));
      remove_tree(join_path(join_path(repo_.folder(), ".no_exist"), entry.name));
      ++snapshots;
    }
    for (const FolderEntry& entry : list_folder(join_path(repo_.folder(), "blobs"))) {
      if (used.contains(entry.name) || !is_blob_hash(entry.name)) continue;
      remove_tree(repo_.blob_path(entry.name));
      ++blobs;
      bytes += entry.stamp.size;
    }
    listener_.note(fmt::format("removed {} and {} that nothing refers to ({})", plural(snapshots, "snapshot"),
                               plural(blobs, "blob"), format_size(bytes)));
  }

  const FileChoice& choice_;
  HashCache& cache_;
  const PushOptions& o_;
  const PushListener& listener_;
  CachedRepo repo_;
  PushResult result_;
  std::optional<std::string> base_;  // the snapshot that this one is made of
  std::string head_;                 // the one that holds what was pushed
  std::vector<CachedFile> old_, new_;
  std::map<std::string, LocalFile> plain_, sources_;  // by hash
  std::set<std::string> damaged_;                     // blobs that are not what they are called
  std::optional<std::string> attributes_;             // a .gitattributes of our making
  std::string attributes_hash_;
};

}  // namespace

PushResult push_to_cache(const std::string& cache_folder, const FileChoice& choice, HashCache& cache,
                         const PushOptions& options, const PushListener& listener) {
  return CachePush(cache_folder, choice, cache, options, listener).run();
}

}  // namespace mu
