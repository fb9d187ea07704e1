// SPDX-License-Identifier: Apache-2.0
// Who am I, repositories, branches, tags, commits.
#include <fmt/format.h>

#include <algorithm>

#include "base/json_write.h"
#include "base/text.h"
#include "routes.h"

namespace hub {

namespace {

bool is_good_name(const std::string& name) {
  return !name.empty() && name.size() <= 96 && !name.starts_with('-') && !name.starts_with('.') &&
         !name.ends_with('-') && !name.ends_with('.') && name.find("--") == std::string::npos &&
         name.find("..") == std::string::npos && !name.ends_with(".git") &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
             std::string::npos;
}

// Type, owner and name in the bodies of create and delete.
struct Named {
  std::string type, owner, name;
  [[nodiscard]] std::string id() const { return owner + "/" + name; }
};

Named named(Call& call, const mu::JsonValue& body, const Account& account) {
  Named named;
  const std::string* type = body.find_string("type");
  named.type = type ? *type : "model";
  if (named.type != "model" && named.type != "dataset" && named.type != "space")
    throw call.refuse(400, "Invalid repository type: " + named.type);
  const std::string* name = body.find_string("name");
  if (!name || !is_good_name(*name)) throw call.refuse(400, "Invalid repository name");
  named.name = *name;
  const std::string* organization = body.find_string("organization");
  named.owner = organization ? *organization : account.user;
  return named;
}

std::string repo_url(const Hub& hub, const Repo& repo) {
  return hub.url + "/" + repo.web_prefix() + repo.id;
}

std::string created_json(const Hub& hub, const Repo& repo) {
  std::string body;
  mu::JsonWriter json(body, 0);
  json.begin_object()
      .member("url", repo_url(hub, repo))
      .member("name", repo.id)
      .member("id", repo.prefix.substr(12, 24));
  json.member("private", repo.is_private).end_object();
  return body;
}

}  // namespace

Answer whoami(Call& call) {
  const Account& account = call.someone();
  std::string body;
  mu::JsonWriter json(body, 0);
  json.begin_object()
      .member("type", "user")
      .member("id", "65f000000000000000000001")
      .member("name", account.user);
  json.member("fullname", account.user)
      .member("email", account.user + "@example.org")
      .member("emailVerified", true);
  json.member("canPay", false).member("isPro", false).key("orgs").begin_array();
  for (const std::string& org : account.orgs) {
    json.begin_object().member("type", "org").member("name", org).member("fullname", org);
    json.member("roleInOrg", account.role == "write" ? "write" : "read").end_object();
  }
  json.end_array()
      .key("auth")
      .begin_object()
      .member("type", "access_token")
      .key("accessToken")
      .begin_object();
  json.member("displayName", "test").member("role", account.role == "pr" ? "fineGrained" : account.role);
  json.end_object().end_object().end_object();
  return json_answer(body);
}

Answer create_repo(Call& call) {
  const Account& account = call.someone();
  const mu::JsonDocument document = call.json();
  const Named wanted = named(call, document.root, account);
  if (call.plays("busy"))
    throw call.refuse(409, "Cannot create repo: another conflicting operation is in progress");
  if (account.role != "write" || !belongs(account, wanted.owner)) {
    throw call.refuse(403, fmt::format("You don't have the rights to create a {} under the namespace \"{}\"",
                                       wanted.type, wanted.owner));
  }
  const std::string* sdk = document.root.find_string("sdk");
  if (wanted.type == "space" && !sdk) throw call.refuse(400, "\"sdk\" is required");
  if (const Repo* existing = call.hub.find_repo(wanted.type, wanted.id())) {
    Answer answer = error_answer(call.hub.config.kohaku, 409, "You already created this repo",
                                 call.hub.config.kohaku ? "RepoExists" : "");
    answer.body.pop_back();  // the url stands beside the message
    answer.body += fmt::format(",\"url\":\"{}\"}}", repo_url(call.hub, *existing));
    return answer;
  }
  const std::string* visibility = document.root.find_string("visibility");
  const bool is_private = (visibility && *visibility == "private") || document.root.find_true("private");
  return json_answer(
      created_json(call.hub, call.hub.add_repo(wanted.type, wanted.id(), wanted.owner, is_private)));
}

Answer delete_repo(Call& call) {
  const Account& account = call.someone();
  const mu::JsonDocument document = call.json();
  const Named wanted = named(call, document.root, account);
  Repo* repo = call.hub.find_repo(wanted.type, wanted.id());
  if (!repo) throw call.refuse(404, "Repository not found", "RepoNotFound");
  call.repo = repo;
  call.must_write(false);
  call.hub.repos.erase(wanted.type + "/" + lower(wanted.id()));
  return json_answer("{}");
}

Answer move_repo(Call& call) {
  const mu::JsonDocument document = call.json();
  const std::string* from = document.root.find_string("fromRepo");
  const std::string* to = document.root.find_string("toRepo");
  const std::string* type = document.root.find_string("type");
  if (!from || !to || !type) throw call.refuse(400, "fromRepo, toRepo and type are needed");
  Repo* repo = call.hub.find_repo(*type, *from);
  if (!repo) throw call.refuse(404, "Repository not found", "RepoNotFound");
  call.repo = repo;
  call.must_write(false);
  if (call.hub.find_repo(*type, *to)) throw call.refuse(409, "The new name is taken");
  auto node = call.hub.repos.extract(*type + "/" + lower(*from));
  node.key() = *type + "/" + lower(*to);
  node.mapped().id = *to;
  node.mapped().owner = to->substr(0, to->find('/'));
  call.hub.repos.insert(std::move(node));
  call.hub.renamed[*type + "/" + lower(*from)] = *to;
  return json_answer("{}");
}

Answer repo_info(Call& call) {
  const Repo& repo = *call.repo;
  const bool empty = call.rest.empty() && repo.branches.contains("main") && repo.branches.at("main").empty();
  const Commit* commit = empty ? nullptr : &call.commit(call.rest.empty() ? "main" : call.revision());
  const bool blobs = query_truth(call.query, "blobs");
  std::string body;
  mu::JsonWriter json(body, 0);
  json.begin_object().member("_id", repo.prefix.substr(12, 24)).member("id", repo.id);
  if (repo.type == "model") json.member("modelId", repo.id);
  if (!call.plays("no-visibility")) json.member("private", repo.is_private);
  json.member("author", repo.owner).member("gated", false).member("disabled", false);
  json.member("downloads", 0).member("likes", 0).key("tags").begin_array().end_array();
  json.member("createdAt", "2026-01-01T00:00:00.000Z");
  json.member("lastModified", iso_date(commit ? commit->time : 0));
  json.key("sha");
  if (commit) {
    json.value(commit->id);
  } else {
    json.null();
  }
  json.key("siblings").begin_array();
  if (commit) {
    for (const auto& [path, file] : *commit->files) {
      json.begin_object().member("rfilename", path);
      if (blobs) {
        json.member("size", file.size).member("blobId", file.git_id);
        if (file.is_lfs()) {
          json.key("lfs").begin_object().member("sha256", file.sha256).member("size", file.size);
          json.member("pointerSize", file.pointer_size()).end_object();
        }
      }
      json.end_object();
    }
  }
  json.end_array().end_object();
  return json_answer(body);
}

Answer auth_check(Call& call) {
  if (call.rest.empty()) return json_answer("{}");
  if (call.rest[0] != "write" || call.hub.config.kohaku) throw call.refuse(404, "Not found");
  call.must_write(false);
  return json_answer("{}");
}

Answer create_branch(Call& call) {
  const mu::JsonDocument document = call.json();
  call.must_write(false);
  const std::string& name = call.revision();
  if (name.starts_with("refs/") || name.empty()) throw call.refuse(400, "Invalid reference for a branch");
  if (call.repo->branches.contains(name))
    throw call.refuse(409, fmt::format("Reference {} already exists", name));
  const std::string* start = document.root.find_string("startingPoint");
  call.repo->branches[name] = call.commit(start ? *start : "main").id;
  return json_answer("{}");
}

Answer delete_branch(Call& call) {
  call.must_write(false);
  if (call.revision() == "main") throw call.refuse(403, "The main branch can't be deleted");
  if (call.repo->branches.erase(call.revision()) == 0)
    throw call.refuse(404, "Invalid rev id: " + call.revision(), "RevisionNotFound");
  return json_answer("{}");
}

Answer create_tag(Call& call) {
  const mu::JsonDocument document = call.json();
  call.must_write(false);
  const std::string* name = document.root.find_string("tag");
  if (!name || name->empty()) throw call.refuse(400, "\"tag\" is required");
  const Commit& commit = call.commit(call.revision());
  if (call.repo->tags.contains(*name)) throw call.refuse(409, fmt::format("Tag {} already exists", *name));
  const std::string* message = document.root.find_string("message");
  call.repo->tags[*name] = {commit.id, message ? *message : ""};
  return json_answer("{}");
}

Answer delete_tag(Call& call) {
  call.must_write(false);
  if (call.repo->tags.erase(call.revision()) == 0)
    throw call.refuse(404, "Invalid rev id: " + call.revision(), "RevisionNotFound");
  return json_answer("{}");
}

Answer list_refs(Call& call) {
  std::string body;
  mu::JsonWriter json(body, 0);
  const auto ref = [&](const std::string& name, const std::string& full, const std::string& commit) {
    json.begin_object().member("name", name).member("ref", full).member("targetCommit", commit).end_object();
  };
  json.begin_object().key("tags").begin_array();
  for (const auto& [name, tag] : call.repo->tags) ref(name, "refs/tags/" + name, tag.commit);
  json.end_array().key("branches").begin_array();
  for (const auto& [name, commit] : call.repo->branches)
    if (!commit.empty()) ref(name, "refs/heads/" + name, commit);
  json.end_array().key("converts").begin_array().end_array();
  if (query_truth(call.query, "include_prs")) {
    json.key("pullRequests").begin_array();
    for (const auto& [number, commit] : call.repo->pull_heads)
      ref(std::to_string(number), fmt::format("refs/pr/{}", number), commit);
    json.end_array();
  }
  json.end_object();
  return json_answer(body);
}

Answer list_commits(Call& call) {
  const std::uint64_t page = std::stoull("0" + query_value(call.query, "p"));
  const std::uint64_t size = std::min<std::uint64_t>(call.hub.config.page_size, 50);
  const Commit* commit = &call.commit(call.revision());
  for (std::uint64_t skip = page * size; skip > 0 && commit; --skip)
    commit = commit->parent.empty() ? nullptr : call.repo->find(commit->parent);
  std::string body;
  mu::JsonWriter json(body, 0);
  json.begin_array();
  for (std::uint64_t i = 0; i < size && commit; ++i) {
    json.begin_object()
        .member("id", commit->id)
        .member("title", commit->title)
        .member("message", commit->message);
    json.member("date", iso_date(commit->time)).key("authors").begin_array();
    json.begin_object().member("user", commit->author).end_object().end_array().end_object();
    commit = commit->parent.empty() ? nullptr : call.repo->find(commit->parent);
  }
  json.end_array();
  Answer answer = json_answer(body);
  if (commit) {
    answer.with("Link", fmt::format("<{}/commits/{}?p={}>; rel=\"next\"", call.repo_api(),
                                    percent_encode(call.revision()), page + 1));
  }
  return answer;
}

// Marks a test puts into the front matter: "yaml-error: TEXT" and "yaml-warning: TEXT". A "license:" that is
// none is an error as well, and no front matter a warning, as on the Hub.
CardFindings check_card(const std::string& content) {
  CardFindings findings;
  const std::size_t end = content.starts_with("---\n") ? content.find("\n---", 3) : std::string::npos;
  if (end == std::string::npos) {
    findings.warnings.emplace_back("empty or missing yaml metadata in repo card");
    return findings;
  }
  for (const std::string_view line : mu::split(std::string_view(content).substr(4, end - 3), '\n')) {
    if (line.starts_with("yaml-error: ")) findings.errors.emplace_back(line.substr(12));
    if (line.starts_with("yaml-warning: ")) findings.warnings.emplace_back(line.substr(14));
    if (line == "license: none-such")
      findings.errors.emplace_back("\"license\" must be one of [apache-2.0, mit, other]");
  }
  return findings;
}

Answer validate_yaml(Call& call) {
  const mu::JsonDocument document = call.json();
  const std::string* content = document.root.find_string("content");
  if (!content || !document.root.find_string("repoType"))
    throw call.refuse(400, "content and repoType are needed");
  if (call.hub.config.kohaku) return json_answer("{\"valid\":true}");
  const CardFindings findings = check_card(*content);
  std::string body;
  mu::JsonWriter json(body, 0);
  json.begin_object();
  for (const auto& [key, list] : {std::pair{"errors", &findings.errors}, {"warnings", &findings.warnings}}) {
    json.key(key).begin_array();
    for (const std::string& text : *list) json.begin_object().member("message", text).end_object();
    json.end_array();
  }
  json.end_object();
  return json_answer(body, findings.errors.empty() ? 200 : 400);
}

Answer xet_token(Call& call) {
  throw call.refuse(404, "This Hub stores no files by Xet");
}

}  // namespace hub
