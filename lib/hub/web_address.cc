// SPDX-License-Identifier: Apache-2.0
// An address is accepted by its origin and by the path of the endpoint, both as parsed, never by how its text
// begins: "https://huggingface.co.example.org" and "https://huggingface.co@example.org" are other hosts.
#include "hub/web_address.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "net/url.h"

namespace mu {
namespace {

// Pages of a repository behind which a revision stands, and perhaps a path.
constexpr auto kRevisionPages =
    std::to_array<std::string_view>({"tree", "blob", "resolve", "raw", "blame", "edit", "commits", "commit"});
// First names of paths on the Hub that are not owners of models.
constexpr auto kNotOwners = std::to_array<std::string_view>(
    {"api", "blog", "buckets", "chat", "collections", "docs", "join", "learn", "login", "models", "new",
     "organizations", "papers", "posts", "pricing", "search", "settings", "tasks"});

template <std::size_t N>
bool is_one_of(const std::array<std::string_view, N>& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

// The public Hub has two addresses.
bool is_public_hub(const Url& url) {
  return (url.host == "huggingface.co" || url.host == "hf.co") &&
         url.port == (url.scheme == "https" ? 443U : 80U);
}

// What stands behind the endpoint, without query and slashes at either end.
std::optional<std::string> path_at(std::string_view text, std::string_view endpoint) {
  if (!endpoint.starts_with("http") || text.find("://") == std::string_view::npos) return std::nullopt;
  try {
    const Url url = parse_url(text), hub = parse_url(endpoint);
    std::string prefix = hub.target;
    while (prefix.ends_with('/')) prefix.pop_back();
    const bool same = origin(url) == origin(hub) || (is_public_hub(url) && is_public_hub(hub));
    std::string_view path = std::string_view(url.target).substr(0, url.target.find('?'));
    if (!same || !path.starts_with(prefix + "/")) return std::nullopt;
    path.remove_prefix(prefix.size() + 1);
    while (path.ends_with('/')) path.remove_suffix(1);
    return std::string(path);
  } catch (const Error&) {
    return std::nullopt;  // not a URL
  }
}

using PathNames = std::vector<std::string_view>;

// "@REV/path" of the names behind a page's name. A revision stays quoted as it is (%2F), a path does not.
std::string revision_and_path(const PathNames& names, std::size_t from) {
  std::string text = "@" + std::string(names[from]);
  for (std::size_t i = from + 1; i < names.size(); ++i) text += "/" + percent_decode(names[i]);
  return text;
}

}  // namespace

std::optional<WebAddress> read_web_address(std::string_view url, std::string_view endpoint) {
  const std::optional<std::string> path = path_at(url, endpoint);
  if (!path) return std::nullopt;
  const PathNames names = split(*path, '/');
  const bool typed = names[0] == "datasets" || names[0] == "spaces";
  const std::size_t page = typed ? 3 : 2;
  const bool whole = names.size() >= page && std::find(names.begin(), names.end(), "") == names.end();
  if (!whole || (!typed && is_one_of(kNotOwners, names[0]))) return std::nullopt;
  WebAddress address;
  address.place = "hf:/";
  for (std::size_t i = 0; i < page; ++i) address.place += "/" + std::string(names[i]);
  if (names.size() == page) return address;
  address.page = names[page];
  const std::size_t rest = page + 1;
  if (address.page == "tree" && names.size() == rest) return address;
  if (address.page == "discussions" && names.size() == rest + 1 && is_digits(names[rest])) {
    address.place += "@refs/pr/" + std::string(names[rest]);
  } else if (is_one_of(kRevisionPages, names[page]) && names.size() > rest) {
    address.place += revision_and_path(names, rest);
  } else {
    return std::nullopt;
  }
  return address;
}

}  // namespace mu
