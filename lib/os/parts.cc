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

struct ShareName {
  std::string_view fingerprint;
  Share part;
};

// Reads "0123456789abcdef.2-of-7"; nothing for any other name.
std::optional<ShareName> parse_share_name(std::string_view name) {
  constexpr std::size_t kDigits = 16;
  constexpr std::string_view kOf = "-of-";
  const std::size_t of = name.find(kOf);
  if (name.size() <= kDigits || name[kDigits] != '.' || of == std::string_view::npos || of < kDigits + 1 ||
      name.substr(0, kDigits).find_first_not_of("0123456789abcdef") != std::string_view::npos)
    return std::nullopt;
  const std::string text =
      fmt::format("{}/{}", name.substr(kDigits + 1, of - kDigits - 1), name.substr(of + kOf.size()));
  try {
    return ShareName{name.substr(0, kDigits), parse_part(text)};
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

PartsFolder::PartsFolder(const std::string& out, std::string fingerprint)
    : path_(real_target(out) + ".parts"), fingerprint_(std::move(fingerprint)) {}

std::string PartsFolder::path_of(const Share& part) const {
  return join_path(path_, fmt::format("{}.{}-of-{}", fingerprint_, part.index, part.count));
}

std::vector<Share> PartsFolder::find(bool discard_others) const {
  std::vector<Share> found;
  if (!exists(path_)) return found;
  if (!is_folder(path_)) throw refused("is no folder of shares").in_file(escape_name(path_));
  std::vector<std::string> others;
  for (const FolderEntry& entry : list_folder(path_)) {
    if (parse_stage_name(entry.name)) continue;  // being written, or what a killed run left
    const std::optional<ShareName> share = parse_share_name(entry.name);
    if (!share || entry.kind != FolderEntry::Kind::kFolder || entry.is_link)
      throw refused("is no share").in_file(escape_name(join_path(path_, entry.name))).hint("move it away");
    if (share->fingerprint == fingerprint_) {
      found.push_back(share->part);
    } else {
      others.push_back(entry.name);
    }
  }
  if (!others.empty() && !discard_others) {
    const std::string more = others.size() == 1 ? "" : fmt::format(", as are {} more", others.size() - 1);
    throw refused(fmt::format("is a share of another plan{}: options or inputs are not those of {}", more,
                              fingerprint_))
        .in_file(escape_name(join_path(path_, others.front())))
        .hint("--force discards it");
  }
  for (const std::string& name : others) remove_tree(join_path(path_, name));
  std::sort(found.begin(), found.end());
  return found;
}

void PartsFolder::make() const {
  if (::mkdir(path_.c_str(), 0777) != 0 && errno != EEXIST)
    throw io_error("make the folder", errno, escape_name(path_));
}

// Renamed first, so that nobody finds half of the shares, then removed.
void PartsFolder::remove() const {
  const std::string gone = join_path(parent_of(path_), stage_name(base_name(path_), StageKind::kGone));
  if (::rename(path_.c_str(), gone.c_str()) != 0) {
    if (errno == ENOENT) return;
    throw io_error("remove", errno, escape_name(path_));
  }
  remove_tree(gone);
}

}  // namespace mu
