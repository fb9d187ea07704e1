// SPDX-License-Identifier: Apache-2.0
// Reading back: trees, paths, files.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/json_write.h"
#include "base/text.h"
#include "routes.h"

namespace hub {

namespace {

// An item of a tree or of paths-info.
std::string file_json(const Call& call, const std::string& path, const File& file, const Commit* expanded) {
  std::string body;
  mu::JsonWriter json(body, 0);
  // KohakuHub gives the SHA-256 where the Hub gives the id of the pointer.
  const bool by_content = file.is_lfs() && call.hub.config.kohaku;
  json.begin_object().member("type", "file").member("oid", by_content ? file.sha256 : file.git_id);
  json.member("size", file.size);
  if (file.is_lfs()) {
    json.key("lfs").begin_object().member("oid", file.sha256).member("size", file.size);
    json.member("pointerSize", file.pointer_size()).end_object();
  }
  json.member("path", path);
  if (expanded) {
    json.key("lastCommit").begin_object().member("id", expanded->id).member("title", expanded->title);
    json.member("date", iso_date(expanded->time)).end_object();
  }
  json.end_object();
  return body;
}

std::string folder_json(const std::string& path, const std::string& id) {
  std::string body;
  mu::JsonWriter json(body, 0);
  json.begin_object().member("type", "directory").member("oid", id).member("size", 0).member("path", path);
  json.end_object();
  return body;
}

std::string array_json(const std::vector<std::string>& items) {
  return "[" + mu::join(items, ",") + "]";
}

std::vector<std::string> wanted_paths(Call& call) {
  std::vector<std::string> paths;
  const std::string* type = call.request.header("Content-Type");
  if (type && lower(*type).starts_with("application/x-www-form-urlencoded")) {
    const Query form = parse_query(call.request.body);
    for (auto [at, end] = form.equal_range("paths"); at != end; ++at) paths.push_back(at->second);
    call.query.insert(form.begin(), form.end());
  } else if (call.hub.config.kohaku) {
    throw call.refuse(422, "the body must be a form");
  } else {
    const mu::JsonDocument document = call.json();
    const mu::JsonValue* list = document.root.find("paths");
    if (!list || !list->is_array()) throw call.refuse(400, "\"paths\" must be an array");
    for (const mu::JsonValue& path : list->items()) {
      if (!path.as_string()) throw call.refuse(400, "\"paths\" must be an array of strings");
      paths.push_back(*path.as_string());
    }
    if (document.root.find_true("expand")) call.query.emplace("expand", "true");
  }
  if (paths.size() > 1000) throw call.refuse(400, "Too many paths, 1000 at most");
  return paths;
}

}  // namespace

Answer list_tree(Call& call) {
  const Commit& commit = call.commit(call.revision());
  const bool recursive = query_truth(call.query, "recursive"), expand = query_truth(call.query, "expand");
  std::string folder = call.path_after(1);
  while (folder.ends_with('/')) folder.pop_back();
  if (!folder.empty() && !commit.folders.contains(folder))
    throw call.refuse(404, folder + " does not exist on \"" + call.revision() + "\"", "EntryNotFound");

  std::map<std::string, std::string> items;  // by path
  const std::string prefix = folder.empty() ? "" : folder + "/";
  const auto listed = [&](const std::string& path) {
    return path.size() > prefix.size() && path.starts_with(prefix) &&
           (recursive || path.find('/', prefix.size()) == std::string::npos);
  };
  for (const auto& [path, file] : *commit.files)
    if (listed(path)) items[path] = file_json(call, path, file, expand ? &commit : nullptr);
  for (const auto& [path, id] : commit.folders)
    if (listed(path)) items[path] = folder_json(path, id);

  // The cursor is the last path of the page before, hidden from those who would count on it.
  const std::optional<std::string> after = base64_decode(query_value(call.query, "cursor"));
  if (!after) throw call.refuse(400, "Invalid cursor");
  const std::uint64_t page = std::min<std::uint64_t>(call.hub.config.page_size, expand ? 50 : 1000);
  std::vector<std::string> out;
  auto at = after->empty() ? items.begin() : items.upper_bound(*after);
  std::string last;
  for (; at != items.end() && out.size() < page; ++at) {
    out.push_back(at->second);
    last = at->first;
  }
  Answer answer = json_answer(array_json(out));
  if (at != items.end()) {
    const std::string path = folder.empty() ? "" : "/" + percent_encode(folder);
    answer.with("Link", fmt::format("<{}/tree/{}{}?recursive={}&expand={}&cursor={}>; rel=\"next\"",
                                    call.repo_api(), percent_encode(call.revision()), path, recursive, expand,
                                    percent_encode(base64_encode(last))));
  }
  return answer;
}

Answer paths_info(Call& call) {
  const Commit& commit = call.commit(call.revision());
  std::vector<std::string> items;
  const std::vector<std::string> paths = wanted_paths(call);
  const bool expand = query_truth(call.query, "expand");
  for (const std::string& path : paths) {
    if (const auto file = commit.files->find(path); file != commit.files->end()) {
      items.push_back(file_json(call, path, file->second, expand ? &commit : nullptr));
    } else if (const auto folder = commit.folders.find(path);
               folder != commit.folders.end() && !path.empty()) {
      items.push_back(folder_json(path, folder->second));
    }
  }
  std::reverse(items.begin(), items.end());  // the order is free, so it is not theirs
  return json_answer(array_json(items));
}

Answer resolve(Call& call) {
  const Commit& commit = call.commit(call.revision());
  const std::string path = call.path_after(1);
  const auto at = commit.files->find(path);
  if (at == commit.files->end()) throw call.refuse(404, "Entry not found", "EntryNotFound");
  const File& file = at->second;
  Answer answer;
  if (file.is_lfs()) {
    const std::uint64_t seconds = call.hub.config.link_seconds ? call.hub.config.link_seconds : 3600;
    const std::string link =
        call.hub.signed_link("GET", call.repo->prefix + "/" + file.sha256, "response-content-type=none",
                             call.plays("expired-links") ? 0 : seconds);
    answer = text_answer(302, "Found. Redirecting to " + link);
    answer.with("Location", link);
    answer.with("X-Linked-Size", std::to_string(file.size)).with("X-Linked-Etag", '"' + file.sha256 + '"');
    answer.with("ETag", '"' + file.sha256 + '"');
  } else if (call.route == "resolve" && !call.hub.config.kohaku) {
    // Small files come from a cache of the Hub's; the body of the redirect is longer than many of them.
    const std::string to = fmt::format("{}/api/resolve-cache/{}/{}/{}/{}", call.hub.config.path_prefix,
                                       call.repo->type, call.repo->id, commit.id, percent_encode(path));
    std::string body = "Temporary Redirect. Redirecting to " + to + "?";
    while (body.size() < 262) body += "x";
    answer = text_answer(307, std::move(body));
    answer.with("Location", to + "?etag=%22" + file.git_id + "%22");
    answer.with("X-Linked-Size", std::to_string(file.size)).with("ETag", '"' + file.git_id + '"');
  } else {
    answer = content_answer(call.request, file.content, {'"' + file.git_id + '"', {}}, call.fault);
  }
  answer.with("X-Repo-Commit", commit.id);
  answer.with("Content-Disposition",
              fmt::format("inline; filename*=UTF-8''{}", percent_encode(path.substr(path.rfind('/') + 1))));
  return answer;
}

}  // namespace hub
