// SPDX-License-Identifier: Apache-2.0
#include "os/parts.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>

#include "base/error.h"
#include "base/text.h"
#include "os/folder.h"
#include "os/remove_tree.h"
#include "os/stage.h"
#include "os/stage_name.h"

namespace mu {
namespace {

constexpr std::string_view kPartial = ".partial";

struct PartName {
  std::string_view fingerprint;
  Part part;
};

// Reads "0123456789abcdef.2-of-7"; nothing for any other name.
std::optional<PartName> parse_part_name(std::string_view name) {
  constexpr std::size_t kDigits = 16;
  constexpr std::string_view kOf = "-of-";
  const std::size_t of = name.find(kOf);
  if (name.size() <= kDigits || name[kDigits] != '.' || of == std::string_view::npos || of < kDigits + 1 ||
      !is_lower_hex(name.substr(0, kDigits)))
    return std::nullopt;
  const std::string text =
      fmt::format("{}/{}", name.substr(kDigits + 1, of - kDigits - 1), name.substr(of + kOf.size()));
  try {
    return PartName{name.substr(0, kDigits), parse_part(text)};
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

PartsFolder::PartsFolder(const std::string& out, std::string fingerprint)
    : path_(real_target(out) + ".parts"), fingerprint_(std::move(fingerprint)) {}

std::string PartsFolder::path_of(const Part& part) const {
  return join_path(path_, fmt::format("{}.{}-of-{}", fingerprint_, part.index, part.count));
}

std::vector<Part> PartsFolder::find(bool discard_others) const {
  std::vector<Part> found;
  if (!exists(path_)) return found;
  if (!is_folder(path_)) throw refused("is not a folder of parts").in_file(escape_name(path_));
  std::vector<std::string> others;
  for (const FolderEntry& entry : list_folder(path_)) {
    if (parse_stage_name(entry.name)) continue;  // being written, or what a killed run left
    if (entry.name.starts_with(kPinPrefix) && entry.kind == FolderEntry::Kind::kFile) continue;
    std::string_view name = entry.name;
    const bool is_partial = name.ends_with(kPartial);
    if (is_partial) name.remove_suffix(kPartial.size());
    const std::optional<PartName> part = parse_part_name(name);
    if (!part || entry.kind != FolderEntry::Kind::kFolder || entry.is_link)
      throw refused("is not a part").in_file(escape_name(join_path(path_, entry.name))).hint("move it away");
    if (part->fingerprint == fingerprint_) {
      if (!is_partial) found.push_back(part->part);
    } else {
      others.push_back(entry.name);
    }
  }
  if (!others.empty() && !discard_others) {
    const std::string more = others.size() == 1 ? "" : fmt::format(", as are {} more", others.size() - 1);
    throw refused(
        fmt::format("is a part of another plan{}: options or inputs are not those of {}", more, fingerprint_))
        .in_file(escape_name(join_path(path_, others.front())))
        .hint("--force discards it");
  }
  for (const std::string& name : others) remove_tree(join_path(path_, name));
  std::sort(found.begin(), found.end());
  return found;
}

void PartsFolder::read_each(
    bool discard_others, const std::function<void(const Part& part, const std::string& path)>& read) const {
  for (const Part& part : find(discard_others)) {
    const std::string path = path_of(part);
    try {
      read(part, path);
    } catch (const Error& error) {
      if (!discard_others)
        throw refused(fmt::format("is not a whole part: {}", error.what()))
            .in_file(escape_name(path))
            .hint("--force discards it");
      remove_tree(path);
    }
  }
}

void PartsFolder::make() const {
  if (::mkdir(path_.c_str(), 0777) != 0 && errno != EEXIST)
    throw io_error("make the folder", errno, escape_name(path_));
}

// Renamed first, so that nobody finds half of the parts, then removed.
void PartsFolder::remove() const {
  const std::string gone = join_path(parent_of(path_), stage_name(base_name(path_), StageKind::kGone));
  if (::rename(path_.c_str(), gone.c_str()) != 0) {
    if (errno == ENOENT) return;
    throw io_error("remove", errno, escape_name(path_));
  }
  remove_tree(gone);
}

}  // namespace mu
