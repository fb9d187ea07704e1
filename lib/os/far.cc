// SPDX-License-Identifier: Apache-2.0
#include "os/far.h"

#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

std::map<std::string, FarFolder, std::less<>>& mounted() {
  static std::map<std::string, FarFolder, std::less<>> folders;
  return folders;
}

}  // namespace

void mount_far(const std::string& name, FarFolder files) {
  mounted()[name].merge(files);
}

bool is_far_name(std::string_view path) {
  return path.starts_with("hf://") || path.starts_with("https://") || path.starts_with("http://");
}

std::optional<FarPlace> find_far(std::string_view path) {
  if (path.find("://") == std::string_view::npos) return std::nullopt;
  while (path.ends_with('/')) path.remove_suffix(1);
  for (const auto& [name, folder] : mounted()) {
    if (!path.starts_with(name)) continue;
    if (path.size() == name.size()) return FarPlace{&folder, ""};
    if (path[name.size()] == '/') return FarPlace{&folder, std::string(path.substr(name.size() + 1))};
  }
  return std::nullopt;
}

void require_near(std::string_view path) {
  if (is_far_name(path))
    throw Error(ErrorKind::kIo, "is not on this machine")
        .in_file(escape_name(path))
        .hint("download it first (hf download, curl); st-inspect reads it where it is");
}

}  // namespace mu
