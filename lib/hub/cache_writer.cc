// SPDX-License-Identifier: Apache-2.0
#include "hub/cache_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <optional>
#include <set>

#include "base/bytes.h"
#include "base/error.h"
#include "base/sizes.h"
#include "base/text.h"
#include "hub/snapshot_id.h"
#include "os/blobs.h"
#include "os/copy.h"
#include "os/folder.h"
#include "os/remove_tree.h"
#include "os/stage.h"
#include "os/stage_name.h"
#include "os/threads.h"

namespace mu {
namespace {

constexpr std::string_view kTag =
    "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of the Hugging Face libraries.\n";

void rename_over(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw io_error("rename into place", errno, escape_name(to));
}

void write_file(const std::string& path, std::span<const std::byte> bytes) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (fd.get() < 0) throw io_error("write", errno, escape_name(path));
  OutputFile(std::move(fd), path).write_at(0, bytes);
}

// Syncs everything written to a disk so far, which is cheaper than file by file.
void sync_disk(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0 || ::syncfs(fd.get()) != 0) throw io_error("sync", errno, escape_name(path));
}

// A folder inside the repository's for what is not yet complete. Removed with the object, or by the next push.
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

// Links into blobs/, in folders as the names have them.
void write_snapshot(const Workshop& workshop, const std::vector<CachedFile>& files) {
  const std::string root = workshop.path("snapshot");
  make_folders(root);
  std::string made;
  for (const CachedFile& file : files) {
    const std::string path = join_path(root, file.name);
    if (parent_of(path) != made) make_folders(made = parent_of(path));
    const std::string target = blob_link(file.name, file.hash);
    if (::symlink(target.c_str(), path.c_str()) != 0) throw io_error("link", errno, escape_name(path));
  }
}

void put_snapshot(const Workshop& workshop, const std::string& target) {
  if (::rename(workshop.path("snapshot").c_str(), target.c_str()) == 0) return sync_folder(parent_of(target));
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

// The lock that keeps other pushes out; the folders it needs, and the cache's tag, are made first.
FileLock lock_repo(const CachedRepo& repo, const std::string& path) {
  make_folders(repo.cache());
  if (const std::string tag = join_path(repo.cache(), "CACHEDIR.TAG"); !exists(tag)) {
    StagedFile staged(tag, true);
    staged.file().write_at(0, as_bytes(kTag));
    staged.commit();
  }
  make_folders(parent_of(path));
  return FileLock(path);
}

}  // namespace

CacheWriter::CacheWriter(const CachedRepo& repo, const PushListener& listener)
    : repo_(repo), listener_(listener), lock_(lock_repo(repo, repo.lock_path("push"))) {}

std::string CacheWriter::write(const NewSnapshot& snapshot, bool link, unsigned jobs) const {
  for (const std::string& folder : {repo_.snapshots_folder(), repo_.blobs_folder(), repo_.refs_folder()})
    make_folders(folder);
  write_blobs(snapshot, link, jobs);
  const Workshop workshop(repo_.folder());
  std::string id = snapshot_id(snapshot.files);
  write_snapshot(workshop, snapshot.files);
  sync_disk(repo_.folder());
  put_snapshot(workshop, repo_.snapshot_path(id));
  return id;
}

void CacheWriter::write_blobs(const NewSnapshot& snapshot, bool link, unsigned jobs) const {
  const Workshop workshop(repo_.folder());  // what a killed push left is gone now
  require_space(repo_.folder(), link ? 0 : snapshot.bytes);
  const std::function<void(std::uint64_t)> on_bytes = listener_.progress("writing", snapshot.bytes);
  const std::vector<std::pair<std::string, LocalFile>> files(snapshot.blobs.begin(), snapshot.blobs.end());
  parallel_for(files.size(), jobs, [&](std::size_t i) {
    write_blob(workshop.path(files[i].first), files[i].first, files[i].second, link, on_bytes);
  });
  for (const auto& [hash, text] : snapshot.texts) write_file(workshop.path(hash), as_bytes(text));
  sync_disk(repo_.folder());
  for (const auto& [hash, file] : files) rename_over(workshop.path(hash), repo_.blob_path(hash));
  for (const auto& [hash, text] : snapshot.texts) rename_over(workshop.path(hash), repo_.blob_path(hash));
}

void CacheWriter::write_blob(const std::string& path, const std::string& hash, const LocalFile& file,
                             bool link, const std::function<void(std::uint64_t)>& on_bytes) const {
  // The lock of the libraries, held while they download a blob. If another process has it, the blob is written
  // all the same: whoever comes last puts the same bytes there.
  std::optional<FileLock> lock;
  try {
    lock.emplace(repo_.lock_path(hash));
  } catch (const Error&) {
  }
  const InputFile in(file.path);
  const auto require_same = [&] {
    if (in.stamp() != file.stamp)
      throw Error(ErrorKind::kTemporary, "changed while it was being pushed")
          .in_file(escape_name(file.path))
          .hint("nothing was published; run the same command again");
  };
  if (link) {
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

// Not staged beside the ref: every file in refs/ is a ref.
void CacheWriter::write_ref(const std::string& revision, const std::string& commit) const {
  const std::string path = repo_.ref_path(revision);
  const Workshop workshop(repo_.folder());
  write_file(workshop.path("ref"), as_bytes(commit));
  sync_disk(repo_.folder());
  make_folders(parent_of(path));
  rename_over(workshop.path("ref"), path);
  sync_folder(parent_of(path));
}

void CacheWriter::prune(const std::string& head) const {
  std::set<std::string> named = {head};
  for (const auto& [revision, commit] : repo_.refs()) named.insert(commit);
  std::set<std::string> used;
  std::size_t snapshots = 0, blobs = 0;
  std::uint64_t bytes = 0;
  const Workshop workshop(repo_.folder());
  for (const FolderEntry& entry : list_folder(repo_.snapshots_folder())) {
    if (named.contains(entry.name)) {
      for (const CachedFile& file : repo_.files(
               entry.name, [this](const std::string& name) { listener_.warning(missing_blob_text(name)); }))
        used.insert(file.hash);
      continue;
    }
    rename_over(repo_.snapshot_path(entry.name), workshop.path("snapshot-" + entry.name));
    remove_tree(repo_.missing_files_path(entry.name));
    ++snapshots;
  }
  for (const FolderEntry& entry : list_folder(repo_.blobs_folder())) {
    if (used.contains(entry.name) || !is_blob_hash(entry.name)) continue;
    remove_tree(repo_.blob_path(entry.name));
    ++blobs;
    bytes += entry.stamp.size;
  }
  listener_.note(fmt::format("removed {} and {} that nothing refers to ({})", plural(snapshots, "snapshot"),
                             plural(blobs, "blob"), format_size(bytes)));
}

}  // namespace mu
