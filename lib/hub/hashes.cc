// SPDX-License-Identifier: Apache-2.0
#include "hub/hashes.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "hash/git_blob.h"
#include "hash/sha256.h"
#include "os/folder.h"
#include "os/interrupt.h"
#include "os/stage.h"
#include "os/threads.h"

namespace mu {
namespace {

constexpr std::size_t kPiece = 1U << 20;           // bytes
constexpr std::uint64_t kMaxTable = 256ULL << 20;  // bytes
constexpr std::size_t kMaxEntries = 200'000;       // the table is forgotten beyond
constexpr std::string_view kHeader = "modelutils hashes 2";
constexpr std::string_view kOldHeader = "modelutils hashes 1";  // without verdicts
constexpr std::int64_t kSettled = 2'000'000'000;                // nanoseconds

template <typename T>
bool take_number(std::string_view& line, T& value) {
  const std::from_chars_result parsed = std::from_chars(line.data(), line.data() + line.size(), value);
  if (parsed.ec != std::errc()) return false;
  line.remove_prefix(static_cast<std::size_t>(parsed.ptr - line.data()));
  if (line.starts_with(' ')) line.remove_prefix(1);
  return true;
}

bool is_hex(std::string_view text, std::size_t size) {
  return (text == "-" || text.size() == size) &&
         text.find_first_not_of("0123456789abcdef-") == std::string_view::npos;
}

}  // namespace

FileHashes hash_file(const std::string& path, const FileStamp& stamp, WantedHashes wanted,
                     const std::function<void(std::uint64_t)>& on_bytes) {
  const InputFile file(path);
  const auto require_same = [&] {
    if (file.stamp() != stamp)
      throw Error(ErrorKind::kTemporary, "it changed while it was being read")
          .in_file(escape_name(path))
          .hint("try again");
  };
  require_same();
  std::optional<Sha256> sha256;
  std::optional<GitBlobId> blob;
  if (wanted.sha256) sha256.emplace();
  if (wanted.blob) blob.emplace(stamp.size);
  std::vector<std::byte> piece(static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, stamp.size)));
  for (std::uint64_t at = 0; at < stamp.size; at += piece.size()) {
    check_interrupt();
    const std::span<std::byte> read = std::span(piece).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), stamp.size - at)));
    file.read_at(at, read);
    if (sha256) sha256->update(read);
    if (blob) blob->update(read);
    if (on_bytes) on_bytes(read.size());
  }
  require_same();
  FileHashes hashes;
  if (sha256) hashes.sha256 = to_hex(sha256->finish());
  if (blob) hashes.blob = blob->finish();
  return hashes;
}

HashCache::HashCache(std::string path) : path_(std::move(path)), table_(read(path_)) {}

HashCache::Table HashCache::read(const std::string& path) {
  Table table;
  if (path.empty() || !is_in_reach(path)) return table;
  const std::string text = read_whole_file(path, kMaxTable);
  std::string_view rest = text;
  bool first = true, old = false;
  for (std::string_view line : split(rest, '\n')) {
    if (first) {
      old = line == kOldHeader;
      if (line != kHeader && !old) return table;
      first = false;
      continue;
    }
    FileStamp stamp;
    const bool numbers = take_number(line, stamp.id.device) && take_number(line, stamp.id.inode) &&
                         take_number(line, stamp.size) && take_number(line, stamp.mtime_ns) &&
                         take_number(line, stamp.ctime_ns);
    FileHashes hashes;
    if (!numbers || (!old && !take_number(line, hashes.clean))) continue;
    const std::size_t blank = line.find(' ');
    if (blank == std::string_view::npos) continue;
    const std::string_view sha256 = line.substr(0, blank), blob = line.substr(blank + 1);
    if (!is_hex(sha256, 64) || !is_hex(blob, 40)) continue;
    if (sha256 != "-") hashes.sha256 = sha256;
    if (blob != "-") hashes.blob = blob;
    table[stamp] = std::move(hashes);
  }
  return table;
}

void HashCache::adopt(const std::string& path, const std::vector<FileStamp>& stamps) {
  const auto anywhere = [](FileStamp stamp) {
    stamp.id.device = 0;
    return stamp;
  };
  Table other;
  for (const auto& [stamp, hashes] : read(path)) other[anywhere(stamp)] = hashes;
  for (const FileStamp& stamp : stamps) {
    const auto found = other.find(anywhere(stamp));
    if (found != other.end()) add(stamp, found->second);
  }
}

void HashCache::divert(std::string path, const std::vector<FileStamp>& stamps) {
  const std::lock_guard<std::mutex> lock(mutex_);
  path_ = std::move(path);
  saved_.emplace(stamps.begin(), stamps.end());
  changed_ = true;
}

std::optional<FileHashes> HashCache::find(const FileStamp& stamp) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = table_.find(stamp);
  return found == table_.end() ? std::nullopt : std::optional(found->second);
}

void HashCache::add(const FileStamp& stamp, const FileHashes& hashes) {
  std::timespec now{};
  std::timespec_get(&now, TIME_UTC);
  const std::int64_t now_ns = static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
  if (now_ns - std::max(stamp.mtime_ns, stamp.ctime_ns) < kSettled) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (table_.size() >= kMaxEntries) table_.clear();
  FileHashes& entry = table_[stamp];
  if (!hashes.sha256.empty()) entry.sha256 = hashes.sha256;
  if (!hashes.blob.empty()) entry.blob = hashes.blob;
  if (hashes.clean != 0) entry.clean = hashes.clean;
  changed_ = true;
}

void HashCache::save() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!changed_ || path_.empty()) return;
  std::string text = std::string(kHeader) + "\n";
  for (const auto& [stamp, hashes] : table_) {
    if (saved_ && !saved_->contains(stamp)) continue;
    text += fmt::format("{} {} {} {} {} {} {} {}\n", stamp.id.device, stamp.id.inode, stamp.size,
                        stamp.mtime_ns, stamp.ctime_ns, hashes.clean,
                        hashes.sha256.empty() ? "-" : hashes.sha256, hashes.blob.empty() ? "-" : hashes.blob);
  }
  make_private_folder(parent_of(path_));
  StagedFile file(path_, true);
  file.file().write_at(0, as_bytes(text));
  file.commit();
}

std::vector<FileHashes> hash_files(const FileChoice& choice, const std::vector<WantedHashes>& wanted,
                                   HashCache& cache, const PushListener& listener) {
  std::vector<FileHashes> hashes(choice.files.size());
  std::vector<std::size_t> unknown;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < hashes.size(); ++i) {
    const FileStamp& stamp = choice.files[i].stamp;
    if (!wanted[i].sha256 && !wanted[i].blob) continue;
    if (const std::optional<FileHashes> known = cache.find(stamp)) {
      hashes[i] = *known;
      if ((!wanted[i].sha256 || !known->sha256.empty()) && (!wanted[i].blob || !known->blob.empty()))
        continue;
    }
    unknown.push_back(i);
    bytes += stamp.size;
  }
  listener.detail(fmt::format("{} to hash of {}", unknown.size(), plural(hashes.size(), "file")));
  const std::function<void(std::uint64_t)> on_bytes = listener.progress("hashing", bytes);
  // The largest first: begun last, it would keep all others waiting.
  std::sort(unknown.begin(), unknown.end(), [&choice](std::size_t a, std::size_t b) {
    return choice.files[a].stamp.size > choice.files[b].stamp.size;
  });
  parallel_for(unknown.size(), default_thread_count(), [&](std::size_t i) {
    const LocalFile& file = choice.files[unknown[i]];
    hashes[unknown[i]] = hash_file(file.path, file.stamp, wanted[unknown[i]], on_bytes);
    cache.add(file.stamp, hashes[unknown[i]]);
  });
  try {
    cache.save();
  } catch (const Error& error) {
    listener.warning(std::string("hashes are not remembered: ") + error.what());
  }
  return hashes;
}

}  // namespace mu
