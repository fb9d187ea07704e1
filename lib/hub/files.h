// SPDX-License-Identifier: Apache-2.0
// Which files of a folder are pushed: everything, but what git and caches keep for themselves, what a
// training run needs only to go on, and what the user's patterns leave out. Patterns as huggingface_hub's
// (utils/_paths.py): against the path below the folder, `*` crosses "/", a trailing "/" takes all below.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/glob.h"
#include "os/file.h"

namespace mu {

struct FileRules {
  std::vector<std::string> include, exclude;
  bool all = false;             // take what a run keeps for itself, too
  bool follow_folders = false;  // go into folders behind links; links to files are always followed
};

struct LocalFile {
  std::string path;  // on this machine
  std::string name;  // in the repository
  FileStamp stamp;
  std::string outside{};  // where a link leads that leaves the folder (model/links.h)
};

struct LeftOutFile {
  std::string name;  // below the folder pushed; with a trailing "/" for a whole folder
  std::string reason;
  bool broken = false;  // a link that leads to no file, and that nobody asked to leave out
};

struct FileChoice {
  std::vector<LocalFile> files;  // by name, bytewise
  std::vector<LeftOutFile> left_out;
  std::vector<std::string> idle_patterns;  // that matched nothing
};

// A pattern as it is matched: "\" is "/", a trailing "/" gets "*".
Glob repo_glob(std::string_view pattern);

// The files below a folder; `prefix` is put before their names. Throws kIo.
FileChoice choose_folder(const std::string& folder, const std::string& prefix, const FileRules& rules);

// One file under `name`. Throws kIo for what is no regular file.
FileChoice choose_file(const std::string& path, const std::string& name);

constexpr std::uint64_t kMaxRegularFile = 10ULL << 20;  // bytes; the Hub keeps larger files in LFS alone

// The text of a chosen file that will be called `name`; nothing where there is none of at most kMaxRegularFile.
std::optional<std::string> root_file(const FileChoice& choice, std::string_view name);

}  // namespace mu
