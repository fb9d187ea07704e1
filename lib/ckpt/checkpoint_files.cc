// SPDX-License-Identifier: Apache-2.0
#include "ckpt/checkpoint_files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <unordered_map>

#include "base/text.h"
#include "os/folder.h"

namespace mu {
namespace {

bool is_looked_into(FileRole role) {
  return role != FileRole::kHidden && role != FileRole::kLog && role != FileRole::kCheckpoint;
}

}  // namespace

FileRole cached_role(const std::string& name, bool is_folder) {
  constexpr std::size_t kMost = 4096;  // names remembered: bounds memory when every name differs
  thread_local std::unordered_map<std::string, FileRole> cache;
  if (cache.size() > kMost) cache.clear();
  const auto [found, fresh] = cache.try_emplace((is_folder ? "/" : "") + name, FileRole::kOther);
  if (fresh) found->second = role_of(name, is_folder);
  return found->second;
}

const PlacedEntry* Place::find(std::string_view base) const {
  const auto found =
      std::lower_bound(entries.begin(), entries.end(), base,
                       [](const PlacedEntry& entry, std::string_view wanted) { return entry.base < wanted; });
  return found != entries.end() && found->base == base ? &*found : nullptr;
}

CheckpointFiles::CheckpointFiles(int folder, const std::string& path, const Walk& walk)
    : folder_(folder), path_(path) {
  std::map<std::string, std::size_t, std::less<>> by_prefix = {{"", 0}};
  places_.emplace_back();
  for (const WalkedEntry& entry : walk.entries) {
    const std::size_t begin = entry.name.rfind('/') + 1;  // 0 at the top
    const auto place = by_prefix.find(std::string_view(entry.name).substr(0, begin));
    if (place == by_prefix.end()) continue;
    const std::string_view base = std::string_view(entry.name).substr(begin);
    const bool is_folder = entry.kind == WalkedEntry::Kind::kFolder;
    const FileRole role = cached_role(begin == 0 ? entry.name : std::string(base), is_folder);
    places_[place->second].entries.push_back({&entry, base, role});
    if (!is_folder || !is_looked_into(role)) continue;
    by_prefix.emplace(entry.name + "/", places_.size());
    places_.push_back({entry.name + "/", {}});
  }
}

const Place* CheckpointFiles::find_place(std::string_view prefix) const {
  const auto found = std::find_if(places_.begin(), places_.end(),
                                  [prefix](const Place& place) { return place.prefix == prefix; });
  return found == places_.end() ? nullptr : &*found;
}

const PlacedEntry* CheckpointFiles::find(const Place& place, std::string_view name) const {
  const std::size_t slash = name.rfind('/') + 1;  // 0 without one
  if (slash == 0) return place.find(name);
  const Place* const below = find_place(place.prefix + std::string(name.substr(0, slash)));
  return below == nullptr ? nullptr : below->find(name.substr(slash));
}

InputFile CheckpointFiles::open(const WalkedEntry& entry) const {
  return InputFile::adopt(Fd(::openat(folder_, entry.name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)),
                          join_path(path_, entry.name));
}

std::uint64_t CheckpointFiles::size_of(const WalkedEntry& entry) const {
  if (entry.kind != WalkedEntry::Kind::kLink) return entry.size;
  struct stat status {};
  if (::fstatat(folder_, entry.name.c_str(), &status, 0) == 0)
    return static_cast<std::uint64_t>(status.st_size);
  if (leads_nowhere(entry)) return 0;
  throw io_error("look at", errno, escape_name(join_path(path_, entry.name)));
}

bool CheckpointFiles::leads_nowhere(const WalkedEntry& entry) const {
  struct stat status {};
  if (entry.kind != WalkedEntry::Kind::kLink || ::fstatat(folder_, entry.name.c_str(), &status, 0) == 0)
    return false;
  return errno == ENOENT || errno == ENOTDIR || errno == ELOOP;
}

}  // namespace mu
