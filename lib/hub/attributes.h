// SPDX-License-Identifier: Apache-2.0
// What the Hub reads from the .gitattributes and .gitignore at the root of a repository. Patterns are
// compiled once, since a call asks about 256 paths.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/glob.h"

namespace mu {

inline constexpr std::string_view kAttributes = ".gitattributes";

// The .gitattributes of a new repository.
std::string default_attributes();

// A pattern as git reads it: without "/" it matches names at any depth, with one it matches paths from the
// root. "*" stays within one name of the path, "**" matches any number of names.
class PathPattern {
 public:
  explicit PathPattern(std::string_view text);
  [[nodiscard]] bool covers(std::string_view path) const;

 private:
  bool whole_path_;
  std::vector<std::optional<Glob>> names_;  // nothing: "**"
};

class Attributes {
 public:
  explicit Attributes(std::string_view text);
  [[nodiscard]] bool wants_lfs(std::string_view path) const;

 private:
  struct Line {
    PathPattern pattern;
    bool lfs;
  };
  std::vector<Line> lines_;
};

// `text` with a line added for each path that it does not send to LFS, as the Hub amends it at a commit.
std::string attributes_covering(std::string text, const std::vector<std::string>& lfs_paths);

// Whether `theirs` is `ours` followed by such lines alone: what a hub made of it at a commit.
bool is_amended(std::string_view ours, std::string_view theirs);

class IgnoreRules {
 public:
  explicit IgnoreRules(std::string_view text);
  [[nodiscard]] bool ignores(std::string_view path) const;

 private:
  struct Line {
    PathPattern pattern;
    bool negated, folders_only;
  };
  std::vector<Line> lines_;
};

}  // namespace mu
