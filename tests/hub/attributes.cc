// SPDX-License-Identifier: Apache-2.0
#include "hub/attributes.h"

#include "base/glob.h"
#include "base/text.h"

namespace hub {

namespace {

std::string_view base_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

// A pattern without "/" is for names at any depth, one with it for paths from the root.
bool covers(std::string pattern, const std::string& path) {
  if (pattern.starts_with('/')) {
    pattern.erase(0, 1);
  } else if (pattern.find('/') == std::string::npos) {
    return mu::Glob(pattern).matches(base_name(path));
  }
  return mu::Glob(pattern).matches(path);
}

}  // namespace

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

bool wants_lfs(std::string_view attributes, const std::string& path) {
  bool lfs = false;
  for (const std::string_view line : mu::split(attributes, '\n')) {
    const std::string_view text = mu::trim(line);
    if (text.empty() || text.front() == '#') continue;
    const std::size_t blank = text.find(' ');
    if (blank == std::string_view::npos || !covers(std::string(text.substr(0, blank)), path)) continue;
    if (text.find("filter=lfs") != std::string_view::npos) lfs = true;
    if (text.find("-filter") != std::string_view::npos) lfs = false;
  }
  return lfs;
}

bool is_ignored(std::string_view ignore, const std::string& path) {
  bool ignored = false;
  for (const std::string_view line : mu::split(ignore, '\n')) {
    std::string pattern(mu::trim(line));
    if (pattern.empty() || pattern.front() == '#') continue;
    const bool negated = pattern.front() == '!';
    if (negated) pattern.erase(0, 1);
    const bool folders_only = pattern.ends_with('/');
    if (folders_only) pattern.pop_back();
    // The path itself, or one of the folders above it.
    bool hit = !folders_only && covers(pattern, path);
    for (std::size_t slash = path.find('/'); slash != std::string::npos && !hit;
         slash = path.find('/', slash + 1))
      hit = covers(pattern, path.substr(0, slash));
    if (hit) ignored = !negated;
  }
  return ignored;
}

}  // namespace hub
