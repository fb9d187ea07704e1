// SPDX-License-Identifier: Apache-2.0
#include "hub/repo.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/error.h"
#include "base/text.h"
#include "model/hf_cache.h"
#include "model/links.h"
#include "net/url.h"

namespace mu {
namespace {

// Whether Windows sees a drive in a name ("a:b"): huggingface_hub refuses to download such a name.
bool has_drive(std::string_view name) {
  const std::size_t first = decode_utf8(name, 0).size;
  return name.size() > first && name[first] == ':';
}

// How many characters after "@" are the revision: up to the next "/", or all of refs/pr/N and
// refs/convert/NAME.
std::size_t revision_size(std::string_view text) {
  const auto word = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-'; };
  const auto digit = [](unsigned char c) { return c >= '0' && c <= '9'; };
  const auto special = [text](std::string_view prefix, auto belongs) -> std::size_t {
    if (!text.starts_with(prefix)) return 0;
    std::size_t end = prefix.size();
    while (end < text.size() && belongs(static_cast<unsigned char>(text[end]))) ++end;
    return end > prefix.size() && (end == text.size() || text[end] == '/') ? end : 0;
  };
  if (const std::size_t size = special("refs/pr/", digit)) return size;
  if (const std::size_t size = special("refs/convert/", word)) return size;
  return std::min(text.find('/'), text.size());
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

}  // namespace

std::string_view repo_type_name(RepoType type) {
  switch (type) {
    case RepoType::kModel:
      return "model";
    case RepoType::kDataset:
      return "dataset";
    case RepoType::kSpace:
      return "space";
  }
  return "";
}

RepoType parse_repo_type(std::string_view text) {
  for (const RepoType type : {RepoType::kModel, RepoType::kDataset, RepoType::kSpace}) {
    const std::string name(repo_type_name(type));
    if (text == name || text == name + "s") return type;
  }
  throw usage(fmt::format("a repository is a model, dataset or space, not a '{}'", escape_name(text)));
}

std::string Repo::api_path() const {
  return fmt::format("/api/{}s/{}", repo_type_name(type), percent_encode_path(id));
}

std::string Repo::web_path() const {
  const std::string prefix = type == RepoType::kModel ? "/" : fmt::format("/{}s/", repo_type_name(type));
  return prefix + percent_encode_path(id);
}

Repo parse_repo(std::string_view text, std::optional<RepoType> type) {
  std::string_view id = text;
  take(id, "hf://");
  std::optional<RepoType> written;
  for (const RepoType each : {RepoType::kModel, RepoType::kDataset, RepoType::kSpace}) {
    if (!written && take(id, std::string(repo_type_name(each)) + "s/")) written = each;
  }
  if (written && type && *written != *type)
    throw usage(fmt::format("'{}' is a {}, but the type given is {}", escape_name(text),
                            repo_type_name(*written), repo_type_name(*type)));
  if (id.find('@') != std::string_view::npos)
    throw usage(fmt::format("'{}' names a revision", escape_name(text))).hint("give it with --revision");
  if (const std::optional<std::string> fault = repo_id_fault(id))
    throw usage(fmt::format("'{}' is not a repository name: {}", escape_name(text), *fault))
        .hint("names are owner/name, datasets/owner/name or spaces/owner/name");
  return {written.value_or(type.value_or(RepoType::kModel)), std::string(id)};
}

std::string parse_revision(std::string_view text) {
  std::string revision = percent_decode(text);
  if (revision.empty() || trim(revision).size() != revision.size() ||
      std::any_of(revision.begin(), revision.end(), [](unsigned char c) { return c < ' ' || c == 0x7F; }))
    throw usage(fmt::format("'{}' is not a revision name", escape_name(text)));
  return revision;
}

RemotePlace parse_place(std::string_view text) {
  const std::size_t begin = text.find("://") + 3;
  const std::string_view rest = text.substr(begin);
  const std::string_view first = rest.substr(0, rest.find('/'));
  const bool typed = first == "datasets" || first == "spaces" || first == "models";
  std::size_t end = 0;  // of owner and name
  for (int names = typed ? 3 : 2; names > 0 && end != std::string_view::npos; --names)
    end = rest.find('/', end == 0 ? 0 : end + 1);
  const std::string_view id = rest.substr(0, std::min(end, rest.find('@')));
  if (std::count(id.begin(), id.end(), '/') != (typed ? 2 : 1) || id.ends_with('/'))
    throw usage(fmt::format("'{}' does not name a repository: write hf://owner/name", escape_name(text)));
  RemotePlace place;
  place.repo = parse_repo(id, std::nullopt);
  std::size_t at = id.size();
  if (rest.substr(at).starts_with('@')) {
    const std::size_t size = revision_size(rest.substr(++at));
    place.revision = parse_revision(rest.substr(at, size));
    at += size;
  }
  place.name = text.substr(0, begin + at);
  if (rest.size() > at) place.path = parse_repo_path(rest.substr(at));
  return place;
}

std::optional<std::string> path_fault(std::string_view path) {
  if (path.empty()) return "it is empty";
  if (find_invalid_utf8(path)) return "it is not UTF-8";
  if (std::any_of(path.begin(), path.end(), [](unsigned char c) { return c < ' ' || c == 0x7F; }))
    return "it contains control characters";
  if (path.find('\\') != std::string_view::npos) return "it contains a backslash";
  for (const std::string_view name : split(path, '/')) {
    if (name.empty()) return "it contains an empty name";
    if (name == "." || name == "..") return "it contains '.' or '..'";
    if (is_reserved_name(name)) return fmt::format("'{}' can't be in a repository", escape_name(name));
    if (has_drive(name))
      return "a name in it begins with a drive letter, which huggingface_hub refuses to download";
    if (name.size() > 255) return "a name in it is longer than 255 bytes";
  }
  return std::nullopt;
}

std::optional<std::string> portable_fault(std::string_view path) {
  constexpr std::array kDevices = std::to_array<std::string_view>({"con", "prn", "aux", "nul"});
  for (const std::string_view name : split(path, '/')) {
    if (const std::size_t bad = name.find_first_of("<>:\"|?*"); bad != std::string_view::npos)
      return fmt::format("Windows does not allow '{}' in a name", name[bad]);
    if (name.ends_with('.') || name.ends_with(' '))
      return "Windows does not allow a name to end with a dot or a space";
    const std::string stem = lower_ascii(name.substr(0, name.find('.')));
    const bool numbered = stem.size() == 4 && (stem.starts_with("com") || stem.starts_with("lpt")) &&
                          stem.back() >= '1' && stem.back() <= '9';
    if (numbered || std::find(kDevices.begin(), kDevices.end(), stem) != kDevices.end())
      return "Windows reserves this name for a device";
  }
  return std::nullopt;
}

std::string parse_repo_path(std::string_view text) {
  std::string_view path = text;
  take(path, "/");
  take(path, "./");
  while (path.ends_with('/')) path.remove_suffix(1);
  if (path.empty() || path == ".") return "";
  if (const std::optional<std::string> fault = path_fault(path))
    throw usage(fmt::format("'{}' can't be a path in a repository: {}", escape_name(text), *fault));
  return std::string(path);
}

}  // namespace mu
