// SPDX-License-Identifier: Apache-2.0
// Every remote file is a RangedFile behind os/far.h. Mounting fetches the first 100,001 bytes of each
// safetensors file that the user looks at, in parallel, and what is left of a longer header: from then on
// headers are in memory, and listing a model costs no further request. Other reads are served from a block of
// 64 KiB when they are small, since readers of formats take a few bytes at a time, and in pieces of 16 MiB
// when they are large.
//
// A hub answers with a redirect to storage. The place it leads to is remembered for the next read, without
// the token, and asked for anew when its signature has expired (401, 403). What the server sends is checked:
// the range must be the one that was requested, the size must be that of the listing, and the entity tag must
// stay the same, or the file changed while it was being read (kTemporary). Waits and repeated requests are
// the session's.
#include "hub/remote.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/in_file.h"
#include "base/text.h"
#include "hub/api.h"
#include "model/hf_cache.h"
#include "net/url.h"
#include "os/far.h"
#include "os/file.h"
#include "os/folder.h"
#include "os/threads.h"
#include "weights/index.h"

namespace mu {
namespace {

constexpr std::uint64_t kFirst = 100'001;          // bytes of the first request; most headers fit
constexpr std::uint64_t kMaxHeader = 100'000'000;  // bytes, as the safetensors format has it
constexpr std::uint64_t kBlock = 64U << 10;        // bytes read ahead of small reads
constexpr std::uint64_t kMaxPiece = 16ULL << 20;   // bytes a request
constexpr int kMaxHops = 5;

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const std::from_chars_result parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

// "Content-Range: bytes 0-99/1000"
struct ContentRange {
  std::uint64_t begin, end, total;  // `end` is the last byte
};
std::optional<ContentRange> parse_content_range(std::string_view text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  text.remove_prefix(6);
  const std::size_t dash = text.find('-'), slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || slash < dash) return std::nullopt;
  const std::optional<std::uint64_t> begin = number(text.substr(0, dash)),
                                     end = number(text.substr(dash + 1, slash - dash - 1)),
                                     total = number(text.substr(slash + 1));
  if (!begin || !end || !total) return std::nullopt;
  return ContentRange{*begin, *end, *total};
}

// One file behind a URL, read by ranges.
class RangedFile {
 public:
  RangedFile(HubSession& session, std::string url, std::string name, std::optional<std::uint64_t> size)
      : session_(session), url_(std::move(url)), name_(std::move(name)), size_(size) {}

  [[nodiscard]] std::uint64_t size() const { return size_.value_or(0); }
  [[nodiscard]] std::string_view head() const { return head_; }

  // What the answers are held to: the entity tag, or the time of the last change; empty if the server says neither.
  std::string held() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return tag_.empty() ? modified_ : tag_;
  }

  void set_head(std::string head) { head_ = std::move(head); }

  // Fetches the first bytes and keeps them; of safetensors the header and no more. Learns the size.
  void read_head(bool is_safetensors) {
    if (size_ == 0U) return;
    std::string head = fetch(0, std::min(kFirst, size_.value_or(kFirst)));
    if (is_safetensors && head.size() >= 8) {
      std::uint64_t header = 0;
      std::memcpy(&header, head.data(), 8);
      if (header <= kMaxHeader && header + 8 <= size()) {
        if (header + 8 > head.size()) head += fetch(head.size(), header + 8 - head.size());
        head.resize(static_cast<std::size_t>(header + 8));
      }
    }
    head.shrink_to_fit();
    head_ = std::move(head);
  }

  void read(std::uint64_t offset, std::span<std::byte> out) {
    if (offset + out.size() <= head_.size()) return copy(head_, offset, out);
    if (out.size() < kBlock) {
      const std::lock_guard<std::mutex> lock(block_mutex_);
      if (offset < block_at_ || offset + out.size() > block_at_ + block_.size()) {
        block_ = fetch(offset, std::min(kBlock, size() - offset));
        block_at_ = offset;
      }
      return copy(block_, offset - block_at_, out);
    }
    for (std::uint64_t done = 0; done < out.size();) {
      const std::uint64_t piece = std::min<std::uint64_t>(kMaxPiece, out.size() - done);
      copy(fetch(offset + done, piece), 0,
           out.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(piece)));
      done += piece;
    }
  }

 private:
  static void copy(const std::string& from, std::uint64_t at, std::span<std::byte> out) {
    std::memcpy(out.data(), from.data() + at, out.size());
  }

  Error unexpected(std::string_view why) const {
    return Error(ErrorKind::kRemote, std::string(why))
        .in_file(escape_name(name_))
        .hint("download the file, then open the copy");
  }

  HttpResponse ask(const std::string& url, std::uint64_t offset, std::uint64_t size, bool authorized) {
    HttpRequest request;
    request.url = url;
    request.headers.push_back({"Range", fmt::format("bytes={}-{}", offset, offset + size - 1)});
    request.headers.push_back({"Accept-Encoding", "identity"});
    request.max_answer = size;
    request.ranged = true;
    return in_file(name_, [&] { return session_.send_url(std::move(request), authorized); });
  }

  // Follows the hub's redirects, and goes straight to where they led the next time.
  HttpResponse answer(std::uint64_t offset, std::uint64_t size) {
    std::string place;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      place = place_;
    }
    if (!place.empty()) {
      HttpResponse response = ask(place, offset, size, false);
      if (response.status != 403 && response.status != 401) return response;
    }
    std::string url = url_;
    for (int hops = 0; hops <= kMaxHops; ++hops) {
      HttpResponse response = ask(url, offset, size, true);
      const std::string* location = response.header("location");
      if (response.status < 300 || response.status >= 400 || location == nullptr) {
        const std::lock_guard<std::mutex> lock(mutex_);
        place_ = same_origin(url, url_) ? "" : url;
        return response;
      }
      url = session_.led_to(url, *location);
    }
    throw unexpected(fmt::format("more than {} redirects", kMaxHops));
  }

  std::string fetch(std::uint64_t offset, std::uint64_t size) {
    HttpResponse response = answer(offset, size);
    const std::string* type = response.header("content-type");
    if (response.status == 200 && type != nullptr && type->starts_with("text/html"))
      throw unexpected("the server sent a web page instead of the file");
    if (response.status == 200 && offset == 0 && (!size_ || *size_ == response.body.size())) {
      check_same(response);
      if (!size_) size_ = response.body.size();
      return std::move(response.body);
    }
    if (response.status == 200) throw unexpected("the server ignores range requests");
    if (response.status == 416) throw unexpected("the file has become shorter");
    if (response.status != 206) {
      HubRequest request;
      request.what = "read " + escape_name(name_);
      throw session_.error(request, response);
    }
    const std::string* header = response.header("content-range");
    const std::optional<ContentRange> range = header == nullptr ? std::nullopt : parse_content_range(*header);
    if (!range) throw unexpected("the server does not say which range it sent");
    const std::uint64_t expected = std::min(size, range->total > offset ? range->total - offset : 0);
    if (range->begin != offset || expected == 0 || range->end != offset + expected - 1 ||
        response.body.size() != expected)
      throw unexpected(
          fmt::format("bytes {} to {} were requested, but others came", offset, offset + size - 1));
    if (size_ && range->total != *size_)
      throw unexpected(fmt::format("it has {} bytes, not {}", range->total, *size_));
    check_same(response);
    if (!size_) size_ = range->total;
    return std::move(response.body);
  }

  void check_same(const HttpResponse& response) {
    const std::string* tag = response.header("etag");
    const std::string* modified = response.header("last-modified");
    const std::lock_guard<std::mutex> lock(mutex_);
    if (modified != nullptr && modified_.empty()) modified_ = *modified;
    if (tag == nullptr) return;
    if (!tag_.empty() && tag_ != *tag)
      throw Error(ErrorKind::kTemporary, "changed while it was being read")
          .in_file(escape_name(name_))
          .hint("try again");
    tag_ = *tag;
  }

  HubSession& session_;
  std::string url_, name_;
  std::optional<std::uint64_t> size_;  // of a bare URL, known from read_head() on; threads only read it
  std::string head_;
  std::mutex mutex_;  // guards what follows
  std::string place_, tag_, modified_;
  std::mutex block_mutex_;
  std::string block_;
  std::uint64_t block_at_ = 0;
};

void make_readable(FarFile& far, const std::shared_ptr<RangedFile>& file) {
  far.size = file->size();
  far.read = [file](std::uint64_t offset, std::span<std::byte> out) { file->read(offset, out); };
  far.start = file->head();
}

// Whether the user looks at the folder of this file, so that its header will be needed.
bool is_looked_at(const RemoteFile& file, const std::string& path) {
  if (!file.path.ends_with(".safetensors")) return false;
  return file.path == path ||
         (path.empty() ? file.path.find('/') == std::string::npos : parent_of(file.path) == path);
}

// Whether it is mounted already, with its first bytes.
bool has_start(const std::string& name) {
  const FarFile* const far = far_file(name);
  return far != nullptr && !far->start.empty();
}

// Of equal texts the bytes are equal: the last part is the SHA-256 of the file, or its git blob id.
std::string version_of(const PinnedRepo& repo, const RemoteFile& file) {
  return fmt::format("{}@{}/{} {}", repo.place.repo.web_path(), repo.commit, file.path,
                     file.sha256.empty() ? file.blob : file.sha256);
}

}  // namespace

FarFile far_file_of(const PinnedRepo& repo, const RemoteFile& file) {
  FarFile far;
  far.size = file.size;
  far.name = repo.place.name + "/" + file.path;
  far.sha256 = file.sha256;
  far.version = version_of(repo, file);
  return far;
}

PinnedRepo pin_repo(HubSession& session, const RemotePlace& place, std::string commit) {
  HubApi api(session, place.repo);
  if (commit.empty()) {
    RevisionState state = api.find_revision(place.revision);
    if (state.found != RevisionState::Found::kYes || state.commit.empty())
      throw Error(ErrorKind::kRemote,
                  fmt::format("there is no {} at {}, or this token may not see it",
                              state.found == RevisionState::Found::kNoRevision ? escape_name(place.revision)
                                                                               : place.repo.id,
                              session.endpoint()));
    commit = std::move(state.commit);
  }
  std::vector<RemoteFile> files = api.list_files(commit, "");
  return {place, std::move(commit), std::move(files)};
}

RemoteHashes mount_repo(HubSession& session, const PinnedRepo& repo, unsigned jobs) {
  const RemotePlace& place = repo.place;
  std::vector<std::shared_ptr<RangedFile>> files;
  std::vector<std::size_t> heads;
  for (const RemoteFile& file : repo.files) {
    files.push_back(std::make_shared<RangedFile>(
        session,
        fmt::format("{}{}/resolve/{}/{}", session.endpoint(), place.repo.web_path(), repo.commit,
                    percent_encode_path(file.path)),
        place.name + "/" + file.path, file.size));
    if (const auto head = repo.heads.find(file.path); head != repo.heads.end()) {
      files.back()->set_head(head->second);
    } else if (is_looked_at(file, place.path) && !has_start(place.name + "/" + file.path)) {
      heads.push_back(files.size() - 1);
    }
  }
  parallel_for(heads.size(), jobs, [&](std::size_t i) { files[heads[i]]->read_head(true); });
  FarFolder folder;
  RemoteHashes hashes;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const RemoteFile& file = repo.files[i];
    FarFile far = far_file_of(repo, file);
    make_readable(far, files[i]);
    if (!file.sha256.empty()) hashes[far.name] = file.sha256;
    folder.emplace(file.path, std::move(far));
  }
  mount_far(place.name, std::move(folder));
  return hashes;
}

void mount_url(HubSession& session, const std::string& url) {
  const Url parsed = parse_url(url);
  if (parsed.scheme == "http" && !is_loopback(parsed))
    throw usage(fmt::format("'{}' would be read without encryption", escape_name(url))).hint("use https://");
  const auto file = std::make_shared<RangedFile>(session, url, url, std::nullopt);
  file->read_head(url.ends_with(".safetensors"));
  FarFile far;
  make_readable(far, file);
  far.name = printable_url(url);
  if (const std::string held = file->held(); !held.empty())
    far.version = fmt::format("{} {} {}", far.name, held, far.size);
  mount_far(url, {{"", std::move(far)}});
}

namespace {

Error not_cached(const std::string& what, const std::string& cache_folder) {
  return Error(ErrorKind::kIo, fmt::format("is not in the cache {}", escape_name(cache_folder)))
      .in_file(escape_name(what))
      .hint("unset HF_HUB_OFFLINE to read it from the hub");
}

// The shards that an index in the snapshot names.
std::vector<std::string> named_shards(const FarFile& index, const std::string& path) {
  std::vector<std::string> shards;
  try {
    Findings ignored;
    const std::string folder = path.substr(0, path.rfind('/') + 1);
    for (const std::string& shard :
         parse_shard_index(read_whole_file(index.local, kMaxIndexBytes), path, ignored).shards)
      shards.push_back(folder + shard);
  } catch (const Error&) {  // whoever opens it says so
  }
  return shards;
}

}  // namespace

void mount_cached(const std::string& cache_folder, const RemotePlace& place) {
  const CachedRepo repo(cache_folder, cached_repo_name(repo_type_name(place.repo.type), place.repo.id));
  const std::optional<std::string> commit = repo.find_revision(place.revision);
  if (!commit) throw not_cached(fmt::format("{} at {}", place.repo.id, place.revision), cache_folder);
  FarFolder folder;
  std::vector<std::string> missing;
  for (const CachedFile& file :
       repo.files(*commit, [&](const std::string& name) { missing.push_back(name); })) {
    FarFile far = far_file_of({place, *commit, {}, {}}, {file.name, file.size, file.is_lfs() ? "" : file.hash,
                                                         file.is_lfs() ? file.hash : ""});
    far.local = join_path(repo.snapshot_path(*commit), file.name);
    if (file.name.ends_with(".index.json")) {
      for (std::string& shard : named_shards(far, file.name)) missing.push_back(std::move(shard));
    }
    folder.emplace(file.name, std::move(far));
  }
  for (const std::string& path : missing) {
    FarFile far;
    far.name = place.name + "/" + path;
    far.refuse = [name = far.name, cache_folder] { throw not_cached(name, cache_folder); };
    folder.emplace(path, std::move(far));  // does nothing for one that is there
  }
  mount_far(place.name, std::move(folder));
  const std::string shown = place.path.empty() ? place.name : place.name + "/" + place.path;
  if (!exists(shown)) throw not_cached(shown, cache_folder);
}

}  // namespace mu
