// SPDX-License-Identifier: Apache-2.0
#include "hub/attributes.h"

#include "base/text.h"

namespace mu {

std::string default_attributes() {
  std::string text;
  for (const char* suffix : {"7z",      "arrow",  "bin",    "bz2",     "ckpt", "ftz", "gguf", "gz",
                             "h5",      "joblib", "model",  "msgpack", "npy",  "npz", "onnx", "ot",
                             "parquet", "pb",     "pickle", "pkl",     "pt",   "pth", "rar",  "safetensors",
                             "tar",     "tflite", "tgz",    "wasm",    "xz",   "zip", "zst"}) {
    text += "*.";
    text += suffix;
    text += " filter=lfs diff=lfs merge=lfs -text\n";
  }
  return text;
}

PathPattern::PathPattern(std::string_view text) : whole_path_(text.find('/') != std::string_view::npos) {
  if (text.starts_with('/')) text.remove_prefix(1);
  for (const std::string_view name : split(text, '/')) {
    if (name != "**")
      names_.emplace_back(Glob(name));
    else if (names_.empty() || names_.back())
      names_.emplace_back();
  }
}

bool PathPattern::covers(std::string_view path) const {
  if (!whole_path_) return !names_.front() || names_.front()->matches(path.substr(path.rfind('/') + 1));
  const std::vector<std::string_view> names = split(path, '/');
  // The lengths of the beginnings of the path that the names of the pattern so far can match.
  std::vector<bool> fits(names.size() + 1);
  fits[0] = true;
  for (std::size_t i = 0; i < names_.size(); ++i) {
    std::vector<bool> next(names.size() + 1);
    bool before = false;
    for (std::size_t k = 0; k <= names.size(); ++k) {
      if (names_[i]) {
        next[k] = k > 0 && fits[k - 1] && names_[i]->matches(names[k - 1]);
        continue;
      }
      // At the end of a pattern "**" matches what is inside, not the folder itself.
      const bool last = i + 1 == names_.size();
      if (!last) before = before || fits[k];
      next[k] = before;
      if (last) before = before || fits[k];
    }
    fits = std::move(next);
  }
  return fits.back();
}

Attributes::Attributes(std::string_view text) {
  for (const std::string_view raw : split(text, '\n')) {
    const std::string_view line = trim(raw);
    const std::size_t blank = line.find(' ');
    if (line.empty() || line.front() == '#' || blank == std::string_view::npos) continue;
    const bool lfs = line.find("filter=lfs") != std::string_view::npos;
    if (lfs || line.find("-filter") != std::string_view::npos)
      lines_.push_back({PathPattern(std::string(line.substr(0, blank))), lfs});
  }
}

bool Attributes::wants_lfs(std::string_view path) const {
  bool lfs = false;  // the last line that covers the path decides
  for (const Line& line : lines_)
    if (line.pattern.covers(path)) lfs = line.lfs;
  return lfs;
}

std::string attributes_covering(std::string text, const std::vector<std::string>& lfs_paths) {
  const Attributes rules(text);
  for (const std::string& path : lfs_paths) {
    if (rules.wants_lfs(path)) continue;
    if (!text.empty() && !text.ends_with('\n')) text += '\n';
    text += path + " filter=lfs diff=lfs merge=lfs -text\n";
  }
  return text;
}

bool is_amended(std::string_view ours, std::string_view theirs) {
  while (ours.ends_with('\n')) ours.remove_suffix(1);
  if (!theirs.starts_with(ours)) return false;
  theirs.remove_prefix(ours.size());
  if (!theirs.empty() && theirs.front() != '\n' && !ours.empty()) return false;
  for (const std::string_view line : split(theirs, '\n')) {
    constexpr std::string_view kRule = " filter=lfs diff=lfs merge=lfs -text";
    // A hub adds paths; rules with wildcards come from people.
    if (!line.empty() && (!line.ends_with(kRule) || line.find_first_of("*?[") != std::string_view::npos))
      return false;
  }
  return true;
}

IgnoreRules::IgnoreRules(std::string_view text) {
  for (const std::string_view raw : split(text, '\n')) {
    std::string line(trim(raw));
    if (line.empty() || line.front() == '#') continue;
    const bool negated = line.front() == '!';
    if (negated) line.erase(0, 1);
    const bool folders_only = line.ends_with('/');
    if (folders_only) line.pop_back();
    lines_.push_back({PathPattern(std::move(line)), negated, folders_only});
  }
}

bool IgnoreRules::ignores(std::string_view path) const {
  bool ignored = false;
  for (const Line& line : lines_) {
    // The path itself, or one of the folders above it.
    bool hit = !line.folders_only && line.pattern.covers(path);
    for (std::size_t slash = path.find('/'); slash != std::string_view::npos && !hit;
         slash = path.find('/', slash + 1))
      hit = line.pattern.covers(path.substr(0, slash));
    if (hit) ignored = !line.negated;
  }
  return ignored;
}

}  // namespace mu
