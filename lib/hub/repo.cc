// SPDX-License-Identifier: Apache-2.0
#include "hub/repo.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "base/text.h"
#include "net/url.h"

namespace mu {
namespace {

std::optional<std::string> component_fault(std::string_view part) {
  if (part.empty()) return "a part of it is empty";
  if (part.size() > 96) return "a part of it is longer than 96 characters";
  const bool plain = std::all_of(part.begin(), part.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
  if (!plain) return "only letters, digits, '-', '_' and '.' are allowed";
  if (part.front() == '-' || part.front() == '.' || part.back() == '-' || part.back() == '.')
    return "a part of it starts or ends with '-' or '.'";
  return std::nullopt;
}

std::optional<std::string> id_fault(std::string_view id) {
  if (std::count(id.begin(), id.end(), '/') > 1) return "it has more than one '/'";
  if (id.find("--") != std::string_view::npos || id.find("..") != std::string_view::npos)
    return "'--' and '..' are not allowed";
  if (id.ends_with(".git")) return "it ends with '.git'";
  for (const std::string_view part : split(id, '/')) {
    if (std::optional<std::string> fault = component_fault(part)) return fault;
  }
  return std::nullopt;
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
  if (const std::optional<std::string> fault = id_fault(id))
    throw usage(fmt::format("'{}' is no name of a repository: {}", escape_name(text), *fault))
        .hint("names are owner/name, datasets/owner/name or spaces/owner/name");
  return {written.value_or(type.value_or(RepoType::kModel)), std::string(id)};
}

std::optional<std::string> path_fault(std::string_view path) {
  if (path.empty()) return "it is empty";
  if (find_invalid_utf8(path)) return "it is not UTF-8";
  if (std::any_of(path.begin(), path.end(), [](unsigned char c) { return c < ' ' || c == 0x7F; }))
    return "it holds control characters";
  if (path.find('\\') != std::string_view::npos) return "it holds a backslash";
  for (const std::string_view part : split(path, '/')) {
    if (part.empty()) return "a part of it is empty";
    if (part == "." || part == "..") return "it has a '.' or '..' in it";
    if (part == ".git" || part == ".cache") return fmt::format("'{}' can't be in a repository", part);
    if (part.size() > 255) return "a part of it is longer than 255 bytes";
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
