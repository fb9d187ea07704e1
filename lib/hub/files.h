// SPDX-License-Identifier: Apache-2.0
// Which files of a folder are pushed: all but the folders of git and caches, what a training run needs only
// to continue, and what the user's patterns leave out. Patterns work as huggingface_hub's (utils/_paths.py):
// they match the path below the folder, `*` crosses "/", a trailing "/" means all below.
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
  bool all = false;             // also what a training run needs only to continue
  bool follow_folders = false;  // go into folders behind links; links to files are always followed
};

struct LocalFile {
  std::string path;  // on this machine
  std::string name;  // in the repository
  FileStamp stamp;
  std::string outside{};  // where a link out of the folder leads (model/links.h)
};

struct LeftOutFile {
  std::string name;  // below the folder pushed; with a trailing "/" for a whole folder
  std::string reason;
  bool broken = false;  // a link that does not lead to a file, and that no pattern left out
};

struct FileChoice {
  std::vector<LocalFile> files;  // by name, bytewise
  std::vector<LeftOutFile> left_out;
  std::vector<std::string> idle_patterns;  // patterns that matched nothing
};

// The pattern as it is matched: "\" becomes "/", and "*" follows a trailing "/".
Glob repo_glob(std::string_view pattern);

// Chooses from the files below a folder; their names begin with `prefix`. Throws kIo.
FileChoice choose_folder(const std::string& folder, const std::string& prefix, const FileRules& rules);

// Chooses one file, to be called `name`. Throws kIo if it is not a regular file.
FileChoice choose_file(const std::string& path, const std::string& name);

constexpr std::uint64_t kMaxRegularFile = 10ULL << 20;  // bytes; the Hub keeps larger files in LFS alone

// The text of a chosen file that will be called `name`; nothing where there is none of at most
// kMaxRegularFile.
std::optional<std::string> root_file(const FileChoice& choice, std::string_view name);

}  // namespace mu
