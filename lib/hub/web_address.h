// SPDX-License-Identifier: Apache-2.0
// What people copy from a browser: turns addresses of a hub's pages into names of the places that they show.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mu {

struct WebAddress {
  // "hf://ada/x@v1/folder". A revision stands there only if the address names one.
  std::string place;
  // What the address shows: "" for the repository itself, "tree" for a folder, "blob" for a file, "resolve"
  // for a file's bytes, "commit", "discussions", …
  std::string page;
};

// ENDPOINT/[datasets/|spaces/]owner/name, also with /tree/REV[/path], /blob/REV/path, /resolve/REV/path,
// /commit/SHA and /discussions/N (which means refs/pr/N) behind it, a query, or a fragment. Of the public Hub
// both huggingface.co and hf.co are the address. Nothing for any other URL: at another host, or not about a
// repository.
std::optional<WebAddress> read_web_address(std::string_view url, std::string_view endpoint);

}  // namespace mu
