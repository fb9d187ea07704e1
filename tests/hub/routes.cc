// SPDX-License-Identifier: Apache-2.0
#include "routes.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace hub {

namespace {

struct Entry {
  const char* route;
  const char* method;
  Answer (*handle)(Call&);
  std::size_t segments;  // after the verb, at least
};

constexpr Entry kEntries[] = {
    {"whoami", "GET", whoami, 0},
    {"create", "POST", create_repo, 0},
    {"delete", "DELETE", delete_repo, 0},
    {"move", "POST", move_repo, 0},
    {"validate-yaml", "POST", validate_yaml, 0},
    {"complete", "POST", lfs_complete, 0},
    {"info", "GET", repo_info, 0},
    {"auth-check", "GET", auth_check, 0},
    {"branch", "POST", create_branch, 1},
    {"branch", "DELETE", delete_branch, 1},
    {"tag", "POST", create_tag, 1},
    {"tag", "DELETE", delete_tag, 1},
    {"refs", "GET", list_refs, 0},
    {"commits", "GET", list_commits, 1},
    {"preupload", "POST", preupload, 1},
    {"commit", "POST", create_commit, 1},
    {"discussions", "POST", create_discussion, 0},
    {"discussions", "GET", show_discussion, 1},
    {"discussions", "POST", change_discussion, 2},
    {"paths-info", "POST", paths_info, 1},
    {"tree", "GET", list_tree, 1},
    {"xet-token", "GET", xet_token, 1},
    {"batch", "POST", lfs_batch, 0},
    {"verify", "POST", lfs_verify, 0},
    {"resolve", "GET", resolve, 2},
    {"resolve", "HEAD", resolve, 2},
    {"resolve-cache", "GET", resolve, 2},
    {"resolve-cache", "HEAD", resolve, 2},
};

constexpr std::string_view kTypes[] = {"model", "dataset", "space"};

void find_api(Call& call, std::vector<std::string>& s) {
  // s: api, ...
  const auto is = [&](std::size_t i, std::string_view text) { return i < s.size() && s[i] == text; };
  if (s.size() == 2 && is(1, "whoami-v2")) call.route = "whoami";
  if (s.size() == 2 && is(1, "validate-yaml")) call.route = "validate-yaml";
  if (s.size() == 2 && is(1, "complete_multipart")) call.route = "complete";
  if (s.size() == 3 && is(1, "repos") && (is(2, "create") || is(2, "delete") || is(2, "move")))
    call.route = s[2];
  // KohakuHub completes at /api/OWNER/NAME.git/info/lfs/complete/UPLOAD.
  if (s.size() == 7 && is(4, "lfs") && is(5, "complete")) {
    call.route = "complete";
    call.rest = {s[6]};
  }
  for (const std::string_view type : kTypes) {
    if (s.size() > 6 && is(1, "resolve-cache") && s[2] == type) {
      call.route = "resolve-cache";
      call.type = type;
      call.id = s[3] + "/" + s[4];
      call.rest.assign(s.begin() + 5, s.end());
    }
    if (s.size() < 4 || s[1] != std::string(type) + "s") continue;
    call.type = type;
    call.id = s[2] + "/" + s[3];
    const std::string verb = s.size() > 4 ? s[4] : "";
    std::size_t first = 5;
    if (verb.empty()) {
      call.route = "info";
      first = 4;
    } else if (verb == "revision" && s.size() == 6) {
      call.route = "info";
    } else if (verb == "xet-write-token" || verb == "xet-read-token") {
      call.route = "xet-token";
    } else if (verb != "info") {
      const auto known = std::find_if(std::begin(kEntries), std::end(kEntries),
                                      [&](const Entry& entry) { return entry.route == verb; });
      if (known != std::end(kEntries)) call.route = verb;
    }
    call.rest.assign(s.begin() + static_cast<std::ptrdiff_t>(std::min(first, s.size())), s.end());
  }
}

void find_web(Call& call, std::vector<std::string>& s) {
  call.type = "model";
  std::size_t at = 0;
  for (const std::string_view type : kTypes) {
    if (type != "model" && !s.empty() && s[0] == std::string(type) + "s") {
      call.type = type;
      at = 1;
    }
  }
  if (s.size() < at + 3) return;
  std::string name = s[at + 1];
  const std::vector<std::string> verbs(s.begin() + static_cast<std::ptrdiff_t>(at) + 2, s.end());
  if (name.ends_with(".git") && verbs.size() == 4 && verbs[0] == "info" && verbs[1] == "lfs" &&
      verbs[2] == "objects") {
    name.resize(name.size() - 4);
    if (verbs[3] == "batch" || verbs[3] == "verify") call.route = verbs[3];
  } else if (verbs[0] == "resolve") {
    call.route = "resolve";
    call.rest.assign(verbs.begin() + 1, verbs.end());
  }
  call.id = s[at] + "/" + name;
}

const Account* authenticate(Call& call) {
  const std::string* value = call.request.header("Authorization");
  if (!value) return nullptr;
  const auto token =
      value->starts_with("Bearer ") ? call.hub.tokens.find(value->substr(7)) : call.hub.tokens.end();
  if (token == call.hub.tokens.end()) throw call.refuse(401, "Invalid credentials in Authorization header");
  return &token->second;
}

// Finds the repository, or throws the redirect to its true name or the refusal that hides it.
void find_repo(Call& call) {
  Repo* repo = call.hub.find_repo(call.type, call.id);
  std::string true_id = repo ? repo->id : "";
  if (!repo) {
    const auto moved = call.hub.renamed.find(call.type + "/" + lower(call.id));
    if (moved != call.hub.renamed.end()) true_id = moved->second;
  }
  if (!true_id.empty() && true_id != call.id) {
    // The id stands in the target as it was asked for, ".git" and the rest behind it.
    std::string target = call.request.target;
    const std::size_t at = target.find(call.id);
    if (at != std::string::npos) target.replace(at, call.id.size(), true_id);
    Answer answer = text_answer(307, "Temporary Redirect. Redirecting to " + target);
    throw Refusal{answer.with("Location", target)};
  }
  const bool hidden = repo && repo->is_private && !(call.caller && belongs(*call.caller, repo->owner));
  if (!repo || hidden) {
    if (!call.caller) throw call.refuse(401, "Invalid username or password.");
    throw call.refuse(404, "Repository not found", "RepoNotFound");
  }
  call.repo = repo;
}

}  // namespace

void find_route(Call& call) {
  call.route = "unknown";
  std::string_view path = call.request.target;
  const std::size_t mark = path.find('?');
  if (mark != std::string_view::npos) call.query = parse_query(path.substr(mark + 1));
  path = path.substr(0, mark);
  const std::string& prefix = call.hub.config.path_prefix;
  if (!path.starts_with(prefix + "/")) return;
  path.remove_prefix(prefix.size() + 1);
  std::vector<std::string> segments;
  for (const std::string_view raw : mu::split(path, '/')) {
    const std::optional<std::string> segment = percent_decode(raw);
    if (!segment) return;
    segments.push_back(*segment);
  }
  if (segments.empty()) return;
  if (segments[0] == "api") {
    find_api(call, segments);
  } else {
    find_web(call, segments);
  }
}

Answer run_route(Call& call) {
  if (call.route == "unknown") throw call.refuse(404, "Sorry, we can't find the page you are looking for.");
  const Entry* entry = nullptr;
  bool known = false;
  for (const Entry& candidate : kEntries) {
    if (candidate.route != call.route || candidate.method != call.request.method) continue;
    known = true;
    // The longest form that fits: discussions has three.
    if (call.rest.size() >= candidate.segments && (!entry || candidate.segments >= entry->segments))
      entry = &candidate;
  }
  if (!known) throw call.refuse(405, "Method not allowed");
  if (!entry) throw call.refuse(404, "Not found");
  // KohakuHub takes a revision as one decoded segment, so one with a slash finds no route there.
  if (call.hub.config.kohaku && !call.rest.empty() && call.rest[0].find('/') != std::string::npos)
    throw call.refuse(404, "Not Found");
  if (call.route != "complete") call.caller = authenticate(call);
  if (!call.id.empty()) find_repo(call);
  return entry->handle(call);
}

}  // namespace hub
