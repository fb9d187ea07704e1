// SPDX-License-Identifier: Apache-2.0
#include "os/far.h"

#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

std::map<std::string, FarFolder, std::less<>>& mounted() {
  static std::map<std::string, FarFolder, std::less<>> folders;
  return folders;
}

KeptFar& kept_far() {
  static KeptFar kept;
  return kept;
}

}  // namespace

void mount_far(const std::string& name, FarFolder files) {
  FarFolder& folder = mounted()[name];
  folder.merge(files);
  for (auto& [path, file] : files) {
    if (FarFile& there = folder.at(path); there.start.empty() && !file.start.empty()) there = std::move(file);
  }
}

void unmount_far(const std::string& name) {
  mounted().erase(name);
}

bool has_far() {
  return !mounted().empty();
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

const FarFile* far_file(std::string_view path) {
  const std::optional<FarPlace> place = find_far(path);
  if (!place) return nullptr;
  const auto found = place->folder->find(place->below);
  return found == place->folder->end() ? nullptr : &found->second;
}

std::string near_path(const std::string& path) {
  const FarFile* const far = far_file(path);
  return far == nullptr || far->local.empty() ? path : far->local;
}

void read_far(const FarFile& file, std::uint64_t offset, std::span<std::byte> out) {
  if (kept_far() && kept_far()(file, offset, out)) return;
  file.read(offset, out);
}

void keep_far(KeptFar kept) {
  kept_far() = std::move(kept);
}

void require_near(std::string_view path) {
  if (is_far_name(path))
    throw Error(ErrorKind::kIo, "is not on this machine")
        .in_file(escape_name(path))
        .hint("download it first (hf download, curl, or st-pack, which writes a model from there)");
}

}  // namespace mu
