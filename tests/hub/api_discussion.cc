// SPDX-License-Identifier: Apache-2.0
// Pull requests (and plain discussions, which share their numbers).
#include <fmt/format.h>

#include "base/json_write.h"
#include "base/text.h"
#include "routes.h"

namespace hub {

namespace {

Discussion& discussion(Call& call, std::uint64_t& number) {
  number = std::stoull("0" + (call.rest[0].size() < 10 ? call.rest[0] : ""));
  const auto at = call.repo->discussions.find(number);
  if (at == call.repo->discussions.end()) throw call.refuse(404, "Discussion not found");
  return at->second;
}

std::string discussion_json(const Call& call, std::uint64_t number, const Discussion& it) {
  std::string body;
  mu::JsonWriter json(body, 0);
  json.begin_object().member("num", number).member("title", it.title).member("status", it.status);
  json.key("author").begin_object().member("name", it.author).end_object();
  json.key("repo").begin_object().member("name", call.repo->id).member("type", call.repo->type).end_object();
  json.member("isPullRequest", it.is_pull_request).member("createdAt", "2026-01-01T00:00:00.000Z");
  json.key("events").begin_array().end_array();
  if (it.is_pull_request) {
    json.key("filesWithConflicts").begin_array().end_array();
    json.key("changes")
        .begin_object()
        .member("base", "refs/heads/" + it.base)
        .end_object()
        .member("diff", "");
  }
  json.end_object();
  return body;
}

// The files the pull request changed, on top of its base as it is now.
void merge(Call& call, std::uint64_t number, Discussion& it) {
  Repo& repo = *call.repo;
  std::string& head = *repo.head(it.base);
  Tree files = *repo.commits.at(head).files;
  const Tree& before = *repo.commits.at(it.base_commit).files;
  const Tree& after = *repo.commits.at(repo.pull_heads.at(number)).files;
  for (const auto& [path, file] : before)
    if (!after.contains(path)) files.erase(path);
  for (const auto& [path, file] : after) {
    const auto old = before.find(path);
    if (old == before.end() || old->second.git_id != file.git_id) files[path] = file;
  }
  head = repo.add_commit(head, std::move(files), fmt::format("{} (#{})", it.title, number), "",
                         call.caller->user)
             .id;
  it.status = "merged";
}

}  // namespace

std::uint64_t open_pull_request(Call& call, const std::string& base, const std::string& base_commit,
                                const std::string& title, const std::string& description) {
  const std::uint64_t number = call.repo->next_number++;
  Discussion& it = call.repo->discussions[number];
  it.title = title;
  it.description = description;
  it.author = call.caller->user;
  it.base = base;
  it.base_commit = base_commit;
  call.repo->pull_heads[number] = base_commit;
  return number;
}

Answer create_discussion(Call& call) {
  const mu::JsonDocument document = call.json();
  const Account& account = call.someone();
  if (account.role == "read") throw call.refuse(403, "This token has no write permission");
  if (call.hub.config.kohaku) throw call.refuse(501, "Discussions are not supported", "NotImplemented");
  const std::string* title = document.root.find_string("title");
  const std::string* description = document.root.find_string("description");
  const std::string_view trimmed = title ? mu::trim(*title) : "";
  if (trimmed.size() < 3 || trimmed.size() > 200)
    throw call.refuse(400, "\"title\" must have 3 to 200 characters");
  if (!description || description->empty())
    throw call.refuse(400, "\"description\" is not allowed to be empty");
  std::uint64_t number = 0;
  if (document.root.find_true("pullRequest")) {
    number = open_pull_request(call, "main", call.commit("main").id, std::string(trimmed), *description);
  } else {
    number = call.repo->next_number++;
    call.repo->discussions[number] =
        Discussion{std::string(trimmed), *description, account.user, "open", false, "", ""};
  }
  return json_answer(discussion_json(call, number, call.repo->discussions.at(number)));
}

Answer show_discussion(Call& call) {
  std::uint64_t number = 0;
  const Discussion& it = discussion(call, number);
  return json_answer(discussion_json(call, number, it));
}

Answer change_discussion(Call& call) {
  std::uint64_t number = 0;
  Discussion& it = discussion(call, number);
  call.must_write(false);
  if (call.rest[1] == "merge" && it.is_pull_request && it.status != "merged") {
    merge(call, number, it);
  } else if (call.rest[1] == "status") {
    const mu::JsonDocument document = call.json();
    const std::string* status = document.root.find_string("status");
    if (!status || (*status != "open" && *status != "closed"))
      throw call.refuse(400, "\"status\" must be open or closed");
    it.status = *status;
  } else if (call.rest[1] != "comment") {
    throw call.refuse(404, "Not found");
  }
  return json_answer(discussion_json(call, number, it));
}

}  // namespace hub
