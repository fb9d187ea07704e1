// SPDX-License-Identifier: Apache-2.0
// Every call has the same shape: JSON is written, the session sends it (and repeats it where that is safe),
// and each member of the answer is checked before it is used. A hub is a stranger: an answer without the
// expected members is an "unexpected answer" (kRemote), ids are checked to be letters and digits before
// they go into a URL, and a listing of more than kMaxPages pages, or one that repeats a page, is refused.
//
// Self-hosted hubs lack some routes: without the check of cards there are no warnings, without the list of
// commits no titles. Creating what exists is not an error: a conflict (409) means that it is there, and after
// a refusal to create a repository the repository is looked up.
#include "hub/api.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <unordered_map>
#include <unordered_set>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/json_write.h"
#include "base/text.h"
#include "net/url.h"

namespace mu {
namespace {

constexpr std::string_view kJson = "application/json";
constexpr std::size_t kPathsPerCall = 500;
constexpr std::size_t kMaxWarnings = 50;  // of a card
constexpr std::size_t kMaxPages = 1000, kMaxEntries = 1'000'000;

HubRequest post(std::string path, std::string body, std::string what) {
  HubRequest request;
  request.method = "POST";
  request.path = std::move(path);
  request.content_type = kJson;
  request.body = text_body(std::move(body));
  request.what = std::move(what);
  return request;
}

HubRequest get(std::string path, std::string what) {
  HubRequest request;
  request.path = std::move(path);
  request.what = std::move(what);
  return request;
}

Error unexpected(std::string_view what, std::string_view why) {
  return Error(ErrorKind::kRemote, fmt::format("cannot {}: unexpected answer ({})", what, why));
}

// `Link: <https://…>; rel="next"`
std::string next_page(const HttpResponse& response) {
  const std::string* link = response.header("link");
  if (link == nullptr) return "";
  for (const std::string_view entry : split(*link, ',')) {
    const std::size_t begin = entry.find('<'), end = entry.find('>');
    if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) continue;
    if (entry.find("rel=\"next\"", end) != std::string_view::npos)
      return std::string(entry.substr(begin + 1, end - begin - 1));
  }
  return "";
}

// `visibility` is the newer key. A Space of which only the app is visible is private, although `private` is
// false.
std::optional<bool> visibility_of(const JsonValue& info) {
  if (const std::string* visibility = info.find_string("visibility")) return *visibility != "public";
  const JsonValue* flag = info.find("private");
  return flag == nullptr ? std::nullopt : flag->as_bool();
}

bool is_missing_route(int status) {
  return status == 404 || status == 405 || status == 501;
}

}  // namespace

void require_commit_id(const std::string& id, std::string_view what) {
  const bool plain = id.size() <= 128 &&
                     std::all_of(id.begin(), id.end(), [](unsigned char c) { return std::isalnum(c) != 0; });
  if (!plain) throw unexpected(what, "a commit id must consist of letters and digits");
}

std::string HubApi::whoami() {
  const JsonValue answer = session_.json(get("/api/whoami-v2", "ask whose token this is"));
  const std::string* name = answer.find_string("name");
  if (name == nullptr || name->empty()) throw unexpected("ask whose token this is", "it has no name");
  try {
    return parse_repo(*name + "/x", RepoType::kModel).id.substr(0, name->size());
  } catch (const Error&) {
    throw unexpected("ask whose token this is", "its name is not an account name");
  }
}

RevisionState HubApi::find_revision(const std::string& revision, Patience* patience) {
  HubRequest request =
      get(repo_.api_path() + "/revision/" + percent_encode(revision), "look up the repository");
  request.patience = patience;
  const HttpResponse response = session_.send(request);
  if (response.ok()) {
    const JsonValue info = parse_answer(response, request.what);
    const std::string* sha = info.find_string("sha");
    if (sha != nullptr) require_commit_id(*sha, request.what);
    return {RevisionState::Found::kYes, sha == nullptr ? "" : *sha, visibility_of(info)};
  }
  switch (refusal_of(response)) {
    case Refusal::kNoRevision:
      return {RevisionState::Found::kNoRevision, "", std::nullopt};
    case Refusal::kNoRepo:
      // Without a token it may just be hidden, and could not be made.
      if (session_.has_token()) return {RevisionState::Found::kNoRepo, "", std::nullopt};
      [[fallthrough]];
    default:
      throw session_.error(request, response);
  }
}

bool HubApi::create_repo(std::optional<bool> make_private) {
  std::string body;
  JsonWriter json(body, 0);
  const std::size_t slash = repo_.id.find('/');
  json.begin_object();
  json.member("name", repo_.id.substr(slash == std::string::npos ? 0 : slash + 1));
  json.key("organization");
  if (slash == std::string::npos) {
    json.null();
  } else {
    json.value(repo_.id.substr(0, slash));
  }
  json.member("type", repo_type_name(repo_.type));
  // Both spellings: self-hosted hubs read the older one.
  if (make_private)
    json.member("visibility", *make_private ? "private" : "public").member("private", *make_private);
  if (repo_.type == RepoType::kSpace) json.member("sdk", "static");
  json.end_object();
  const HubRequest request = post("/api/repos/create", std::move(body), "create the repository");
  const HttpResponse response = session_.send(request);
  if (response.ok()) return true;
  if (response.status == 409 && !is_busy(response)) return false;
  // A token that may push but not create is refused even if the repository is there.
  if (response.status == 401 || response.status == 402 || response.status == 403) {
    if (session_.send(get(repo_.api_path(), "look up the repository")).ok()) return false;
  }
  throw session_.error(request, response);
}

bool HubApi::create_branch(const std::string& name) {
  const HubRequest request =
      post(repo_.api_path() + "/branch/" + percent_encode(name), "{}", "create the branch");
  const HttpResponse response = session_.send(request);
  if (!response.ok() && (response.status != 409 || is_busy(response)))
    throw session_.error(request, response);
  return response.ok();
}

void HubApi::create_tag(const std::string& name, const std::string& revision, const std::string& message) {
  std::string body;
  JsonWriter(body, 0).begin_object().member("tag", name).member("message", message).end_object();
  session_.must(post(repo_.api_path() + "/tag/" + percent_encode(revision), std::move(body),
                     "create the tag '" + escape_name(name) + "'"));
}

std::uint64_t HubApi::open_pull_request(const std::string& title, const std::string& description) {
  std::string body;
  JsonWriter json(body, 0);
  json.begin_object()
      .member("title", title)
      .member("description", description)
      .member("pullRequest", true)
      .end_object();
  HubRequest request = post(repo_.api_path() + "/discussions", std::move(body), "open a pull request");
  request.repeat = Repeat::kUndone;  // a request whose answer was lost may have opened one
  const JsonValue answer = session_.json(request);
  const std::optional<std::uint64_t> number = answer.find_u64("num");
  if (!number) throw unexpected(request.what, "it has no number");
  return *number;
}

std::vector<std::string> HubApi::validate_card(const std::string& text) {
  std::string body;
  JsonWriter(body, 0)
      .begin_object()
      .member("content", text)
      .member("repoType", repo_type_name(repo_.type))
      .end_object();
  const HubRequest request = post("/api/validate-yaml", std::move(body), "check README.md");
  const HttpResponse response = session_.send(request);
  if (is_missing_route(response.status)) return {};
  if (!response.ok()) throw session_.error(request, response).in_file("README.md");
  std::vector<std::string> warnings;
  const JsonValue answer = parse_answer(response, request.what);
  if (const JsonValue* list = answer.find("warnings")) {
    for (const JsonValue& item : list->items()) {
      if (warnings.size() == kMaxWarnings) break;
      if (const std::string* message = item.find_string("message"))
        warnings.push_back(session_.shown(*message));
    }
  }
  return warnings;
}

std::vector<PreuploadAnswer> HubApi::preupload(const std::string& revision,
                                               const std::vector<PreuploadFile>& files, const RootFiles& own,
                                               bool pull_request) {
  std::string body;
  JsonWriter json(body, 0);
  json.begin_object().key("files").begin_array();
  for (const PreuploadFile& file : files) {
    json.begin_object().member("path", file.path).member("size", file.size);
    json.member("sample", to_base64(as_bytes(file.sample))).end_object();
  }
  json.end_array();
  if (own.gitignore) json.member("gitIgnore", *own.gitignore);
  if (own.gitattributes) json.member("gitAttributes", *own.gitattributes);
  json.end_object();
  const HubRequest request =
      post(repo_.api_path() + "/preupload/" + percent_encode(revision) + (pull_request ? "?create_pr=1" : ""),
           std::move(body), "ask how files are stored");
  const JsonValue answer = session_.json(request);
  const JsonValue* list = answer.find("files");
  if (list == nullptr || !list->is_array()) throw unexpected(request.what, "it has no files");
  std::unordered_map<std::string_view, const JsonValue*> by_path;
  for (const JsonValue& item : list->items()) {
    if (const std::string* path = item.find_string("path")) by_path[*path] = &item;
  }
  std::vector<PreuploadAnswer> answers;
  for (const PreuploadFile& file : files) {
    const auto found = by_path.find(file.path);
    if (found == by_path.end()) throw unexpected(request.what, "'" + escape_name(file.path) + "' is missing");
    const std::string* mode = found->second->find_string("uploadMode");
    if (mode == nullptr || (*mode != "lfs" && *mode != "regular"))
      throw unexpected(request.what, "an uploadMode is neither lfs nor regular");
    const std::string* oid = found->second->find_string("oid");
    // Storage refuses empty objects, whatever the answer says.
    answers.push_back({*mode == "lfs" && file.size > 0, found->second->find_true("shouldIgnore"),
                       oid == nullptr ? "" : *oid});
  }
  return answers;
}

std::vector<RemoteFile> HubApi::read_files(const JsonValue& list, std::string_view what) {
  if (!list.is_array()) throw unexpected(what, "it is not a list");
  std::vector<RemoteFile> files;
  for (const JsonValue& item : list.items()) {
    const std::string* type = item.find_string("type");
    const std::string* path = item.find_string("path");
    if (type == nullptr || path == nullptr) throw unexpected(what, "an entry has no type or path");
    if (*type != "file") continue;
    RemoteFile file{*path, item.find_u64("size").value_or(0), "", ""};
    if (const std::string* oid = item.find_string("oid")) file.blob = *oid;
    const JsonValue* lfs = item.find("lfs");
    if (lfs != nullptr && lfs->is_object()) {
      if (const std::string* oid = lfs->find_string("oid")) file.sha256 = *oid;
      file.size = lfs->find_u64("size").value_or(file.size);
    }
    files.push_back(std::move(file));
  }
  return files;
}

std::vector<RemoteFile> HubApi::list_files(const std::string& revision, const std::string& path) {
  std::vector<RemoteFile> files;
  const std::string what = "list the files of the repository";
  std::string below = repo_.api_path() + "/tree/" + percent_encode(revision);
  if (!path.empty()) below += "/" + percent_encode_path(path);
  below += "?recursive=True&expand=False";
  std::unordered_set<std::string> read;  // pages
  for (std::size_t entries = 0;;) {
    if (!read.insert(below).second) throw unexpected(what, "it repeats a page");
    if (read.size() > kMaxPages) throw unexpected(what, fmt::format("it has more than {} pages", kMaxPages));
    const HubRequest request = get(below, what);
    const HttpResponse response = session_.send(request);
    if (!response.ok()) {
      if (refusal_of(response) == Refusal::kNoEntry) return files;
      throw session_.error(request, response);
    }
    const JsonValue list = parse_answer(response, what);
    entries += list.items().size();
    if (entries > kMaxEntries)
      throw unexpected(what, fmt::format("it has more than {} entries", kMaxEntries));
    for (RemoteFile& file : read_files(list, what)) files.push_back(std::move(file));
    const std::string next = at_endpoint(next_page(response), session_.endpoint());
    if (next.empty()) return files;
    if (!next.starts_with(session_.endpoint() + "/"))
      throw unexpected(what, "the next page is on another host");
    below = next.substr(session_.endpoint().size());
  }
}

std::vector<RemoteFile> HubApi::find_files(const std::string& revision,
                                           const std::vector<std::string>& paths) {
  std::vector<RemoteFile> files;
  for (std::size_t begin = 0; begin < paths.size(); begin += kPathsPerCall) {
    std::string form;
    for (std::size_t i = begin; i < std::min(paths.size(), begin + kPathsPerCall); ++i)
      form += "paths=" + percent_encode(paths[i]) + "&";
    HubRequest request = post(repo_.api_path() + "/paths-info/" + percent_encode(revision),
                              form + "expand=False", "look up files");
    request.content_type = "application/x-www-form-urlencoded";
    for (RemoteFile& file : read_files(session_.json(request), request.what))
      files.push_back(std::move(file));
  }
  return files;
}

std::optional<std::string> HubApi::read_text(const std::string& revision, const std::string& path) {
  const HubRequest request = get(
      fmt::format("{}/resolve/{}/{}", repo_.web_path(), percent_encode(revision), percent_encode_path(path)),
      "read " + escape_name(path));
  HttpResponse response = session_.send(request);
  if (response.status == 404) return std::nullopt;
  if (!response.ok()) throw session_.error(request, response);
  return std::move(response.body);
}

std::string HubApi::newest_title(const std::string& revision) {
  const HubRequest request =
      get(repo_.api_path() + "/commits/" + percent_encode(revision), "look up the newest commit");
  const HttpResponse response = session_.send(request);
  if (is_missing_route(response.status)) return "";
  if (!response.ok()) throw session_.error(request, response);
  const JsonValue list = parse_answer(response, request.what);
  if (list.items().empty()) return "";
  const std::string* title = list.items().front().find_string("title");
  return title == nullptr ? "" : *title;
}

HubRequest HubApi::commit_request(const std::string& revision) const {
  HubRequest request;
  request.method = "POST";
  request.path = repo_.api_path() + "/commit/" + percent_encode(revision);
  request.content_type = "application/x-ndjson";
  request.what = "commit";
  request.repeat = Repeat::kNever;
  return request;
}

HttpResponse HubApi::commit(const std::string& revision, const HttpBody& body, Patience& patience) {
  HubRequest request = commit_request(revision);
  request.body = body;
  request.patience = &patience;
  return session_.send(request);
}

std::string hub_url(std::string_view reported, const std::string& endpoint) {
  const bool plain = !reported.empty() && reported.size() <= 2000 &&
                     std::all_of(reported.begin(), reported.end(), [](char c) {
                       return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
                              std::string_view("-._~/%+@=&?:#").find(c) != std::string_view::npos;
                     });
  if (!plain || reported.find("..") != std::string_view::npos) return "";
  const std::string url = at_endpoint(std::string(reported), endpoint);
  if (url.starts_with(endpoint + "/")) return url;
  if (url.starts_with("//") || url.substr(0, url.find('/')).find(':') != std::string::npos) return "";
  const std::string target = parse_url(endpoint).target;  // a hub may live below a path
  if (target != "/" && url.starts_with(target + "/")) return origin(parse_url(endpoint)) + url;
  return endpoint + (url.front() == '/' ? "" : "/") + url;
}

std::string HubApi::commit_url(const std::string& commit, std::string_view reported) const {
  const std::string url = hub_url(reported, session_.endpoint());
  return url.empty() || session_.masked(url) != url ? commit_url(commit) : url;
}

std::string HubApi::commit_url(const std::string& commit) const {
  return session_.endpoint() + repo_.web_path() + (commit.empty() ? "" : "/commit/" + commit);
}

std::string HubApi::pull_request_url(std::uint64_t number) const {
  return session_.endpoint() + repo_.web_path() + "/discussions/" + std::to_string(number);
}

}  // namespace mu
