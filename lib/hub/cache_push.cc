// SPDX-License-Identifier: Apache-2.0
// A cache folder has no server that decides anything, so this is also the hub: the new snapshot is what the
// Hub would have made of the same push. The snapshot that the revision names now is read first, under a lock;
// its .gitattributes and .gitignore, or those that are pushed, say what goes into LFS and what is left out; a
// new repository gets the Hub's default rules, and paths in LFS that no rule covers get one. plan_push() then
// compares, as for a hub.
//
// The content of the cache is not trusted blindly: files that the libraries wrote where links are impossible
// become blobs, blobs of the wrong size (with --verify, of the wrong hash) are rewritten, and a ref with a
// stray line end is repaired. The new snapshot is the old one with the plan applied; cache_writer.h writes what
// is missing of it. Nothing is tried twice: a file that changes meanwhile or a second push at work ends this
// one, and the next run removes what is left.
#include "hub/cache_push.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "hash/git_blob.h"
#include "hub/api.h"
#include "hub/attributes.h"
#include "hub/cache_writer.h"
#include "hub/guard.h"
#include "hub/ignored.h"
#include "model/hf_cache.h"
#include "os/folder.h"
#include "os/threads.h"

namespace mu {
namespace {

// Whether the Hub would keep a file in LFS: by its rules, its size, or bytes that are not text.
bool wants_lfs(const Attributes& rules, const LocalFile& file) {
  if (rules.wants_lfs(file.name) || file.stamp.size >= kMaxRegularFile) return true;
  std::string head(static_cast<std::size_t>(std::min<std::uint64_t>(file.stamp.size, kSampleBytes)), '\0');
  InputFile(file.path).read_at(0, std::as_writable_bytes(std::span(head)));
  return head.find('\0') != std::string::npos;
}

class CachePush {
 public:
  CachePush(const CacheTarget& target, const FileChoice& choice, HashCache& cache, const PushOptions& options,
            const PushListener& listener)
      : choice_(choice),
        target_(target),
        cache_(cache),
        o_(options),
        listener_(listener),
        repo_(target.folder, cached_repo_name(repo_type_name(options.repo.type), options.repo.id)) {}

  PushResult run() {
    refuse_options_of_hubs();
    result_.repo = o_.repo;
    enforce_guard(guard_files(choice_, o_.repo.type == RepoType::kModel, o_.jobs, cache_, listener_.detail),
                  o_.allowed, listener_.warning);
    std::optional<CacheWriter> writer;
    if (!o_.dry_run) {
      require_repo();
      writer.emplace(repo_, listener_);
    }
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
        listener_.note(fmt::format("repaired the ref {}", escape_name(o_.revision)));
        writer->write_ref(o_.revision, head_);
      }
    } else {
      head_ = writer->write(new_, target_.link, o_.jobs);
      writer->write_ref(o_.revision, head_);
      result_.counts = {result_.bytes_to_send, stored_before_};
      result_.commits.push_back(head_);
    }
    result_.url = "file://" + repo_.snapshot_path(head_);
    if (o_.verify) verify();
    if (!o_.tag.empty()) writer->write_ref(o_.tag, head_);
    if (target_.prune) writer->prune(head_);
    return std::move(result_);
  }

 private:
  void refuse_options_of_hubs() const {
    if (o_.part) throw usage("--part can't write into a cache folder");
    if (o_.make_private)
      throw usage("--private and --no-private don't apply to a cache folder")
          .hint("its file modes decide who may read it");
    if (o_.create_pr) throw usage("a cache folder has no pull requests");
  }

  void require_repo() {
    if (repo_.is_there()) return;
    if (!o_.create)
      throw Error(ErrorKind::kRemote, fmt::format("{} is not in the cache", escape_name(repo_.name())));
    result_.created_repo = true;
  }

  void find_base() {
    base_ = repo_.find_revision(o_.revision);
    if (!o_.expected_parent.empty() && !base_.value_or("").starts_with(o_.expected_parent))
      throw Error(ErrorKind::kRemote, fmt::format("{} is at {}, not at {}", escape_name(o_.revision),
                                                  base_.value_or("no snapshot"), o_.expected_parent))
          .hint("somebody else has pushed: look at it, then name the new one");
    if (!base_ && o_.revision != "main") base_ = repo_.find_revision("main");
    if (base_)
      old_ = repo_.files(*base_,
                         [this](const std::string& name) { listener_.warning(missing_blob_text(name)); });
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
    report_ignored(result_.plan, o_.allowed, listener_.note, listener_.warning);
    if (fresh || attributes) amend_attributes(text, in_lfs, fresh);
    find_damage();
    take_plan();
  }

  // An amended .gitattributes counts as the same. Blobs whose bytes don't fit their names are rewritten.
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
      listener_.warning(escape_name(item.name) + ": its copy in the cache is damaged and will be replaced");
      damaged_.insert(hash);
      if (item.action == PushAction::kSame) item.action = PushAction::kChanged;
    }
  }

  // Compares the size; with --verify the bytes.
  [[nodiscard]] bool is_whole(const std::string& hash, std::uint64_t size) const {
    const std::string path = repo_.blob_path(hash);
    const FileStamp stamp = stamp_of(path);
    if (stamp.size != size) return false;
    if (!o_.verify) return true;
    const bool lfs = hash.size() == 64;
    const FileHashes hashes = hash_file(path, stamp, {.sha256 = lfs, .blob = !lfs}, {});
    return (lfs ? hashes.sha256 : hashes.blob) == hash;
  }

  // Plain files in a snapshot, which the libraries write where links are impossible, become blobs.
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
    std::map<std::string, LocalFile> sources;  // by hash
    for (const CachedFile& old : old_) files[old.name] = old;
    for (const PushItem& item : result_.plan.items) {
      if (item.action == PushAction::kDelete) files.erase(item.name);
      if (item.action != PushAction::kNew && item.action != PushAction::kChanged) continue;
      files[item.name] = {item.name, item.oid, item.size};
      sources.emplace(item.oid, *item.local);
    }
    if (attributes_) {
      const std::string hash = git_object_id("blob", as_bytes(*attributes_));
      files[std::string(kAttributes)] = {std::string(kAttributes), hash, attributes_->size()};
      if (!has_blob(hash, attributes_->size())) new_.texts.emplace(hash, *attributes_);
    }
    sources.insert(plain_.begin(), plain_.end());
    for (auto& [name, file] : files) new_.files.push_back(std::move(file));
    for (const auto& [hash, file] : sources) {
      if (has_blob(hash, file.stamp.size)) {
        stored_before_ += file.stamp.size;
        continue;
      }
      new_.bytes += file.stamp.size;
      new_.blobs.emplace(hash, file);
    }
    result_.bytes_to_send = new_.bytes;
    check_folders();
  }

  // No path may be a file and a folder at once.
  void check_folders() const {
    for (std::size_t i = 0; i + 1 < new_.files.size(); ++i) {
      const auto below = std::lower_bound(
          new_.files.begin(), new_.files.end(), new_.files[i].name + "/",
          [](const CachedFile& file, const std::string& wanted) { return file.name < wanted; });
      if (below != new_.files.end() && below->name.starts_with(new_.files[i].name + "/"))
        throw Error(ErrorKind::kRemote,
                    fmt::format("{} would be a file and a folder at once: {}",
                                escape_name(new_.files[i].name), escape_name(below->name)))
            .hint(fmt::format("remove it with --delete '{}'", escape_name(new_.files[i].name)));
    }
  }

  [[nodiscard]] bool has_blob(const std::string& hash, std::uint64_t size) const {
    const std::string path = repo_.blob_path(hash);
    return exists(path) && stamp_of(path).size == size && !damaged_.contains(hash);
  }

  // Every file pushed, read back through the snapshot.
  void verify() {
    require_model_files(result_.plan);
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

  const FileChoice& choice_;
  const CacheTarget& target_;
  HashCache& cache_;
  const PushOptions& o_;
  const PushListener& listener_;
  CachedRepo repo_;
  PushResult result_;
  std::optional<std::string> base_;  // the snapshot that this one is made of
  std::string head_;                 // the one that holds what was pushed
  std::vector<CachedFile> old_;
  std::map<std::string, LocalFile> plain_;  // by hash
  std::set<std::string> damaged_;           // blobs whose bytes don't have the hash in their name
  std::optional<std::string> attributes_;   // a .gitattributes of our making
  NewSnapshot new_;
  std::uint64_t stored_before_ = 0;  // bytes of blobs that are there
};

}  // namespace

PushResult push_to_cache(const CacheTarget& target, const FileChoice& choice, HashCache& cache,
                         const PushOptions& options, const PushListener& listener) {
  return CachePush(target, choice, cache, options, listener).run();
}

}  // namespace mu
