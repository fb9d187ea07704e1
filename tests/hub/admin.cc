// SPDX-License-Identifier: Apache-2.0
// What tests say to the Hub behind the protocol; README.md lists the calls. None of them is logged.
#include <fmt/format.h>

#include "base/error.h"
#include "base/json_write.h"
#include "base/text.h"
#include "routes.h"

namespace hub {

namespace {

std::string member(const mu::JsonValue& body, const char* key, const char* otherwise = nullptr) {
  const std::string* text = body.find_string(key);
  if (!text && !otherwise) throw mu::usage(fmt::format("\"{}\" is needed", key));
  return text ? *text : otherwise;
}

void write_files(mu::JsonWriter& json, const Commit& commit) {
  json.key("files").begin_object();
  for (const auto& [path, file] : *commit.files) {
    json.key(path)
        .begin_object()
        .member("size", file.size)
        .member("git", file.git_id)
        .member("lfs", file.is_lfs());
    json.member("sha256", file.is_lfs() ? file.sha256 : sha256_hex(file.content->text())).end_object();
  }
  json.end_object();
}

std::string repo_json(Hub& hub, const Repo& repo) {
  std::string out;
  mu::JsonWriter json(out, 1);
  json.begin_object().member("type", repo.type).member("id", repo.id).member("private", repo.is_private);
  json.key("revisions").begin_object();
  const auto revision = [&](const std::string& name, const std::string& id) {
    json.key(name).begin_object().member("commit", id).key("commits").begin_array();
    for (std::string at = id; !at.empty(); at = repo.commits.at(at).parent) {
      const Commit& commit = repo.commits.at(at);
      json.begin_object()
          .member("id", commit.id)
          .member("title", commit.title)
          .member("message", commit.message);
      json.member("author", commit.author).end_object();
    }
    json.end_array();
    if (!id.empty()) write_files(json, repo.commits.at(id));
    json.end_object();
  };
  for (const auto& [name, id] : repo.branches) revision(name, id);
  for (const auto& [name, tag] : repo.tags) revision("refs/tags/" + name, tag.commit);
  for (const auto& [number, id] : repo.pull_heads) revision(fmt::format("refs/pr/{}", number), id);
  json.end_object().key("objects").begin_object();
  for (const auto& [oid, blob] : hub.objects(const_cast<Repo&>(repo))) json.member(oid, blob->size());
  json.end_object().end_object();
  return out + "\n";
}

void add_token(Hub& hub, const mu::JsonValue& body) {
  Account account{member(body, "user"), member(body, "role", "write"), {}};
  if (const mu::JsonValue* orgs = body.find("orgs")) {
    for (const mu::JsonValue& org : orgs->items())
      if (org.as_string()) account.orgs.insert(*org.as_string());
  }
  hub.tokens[member(body, "token")] = account;
}

// A commit by somebody else, which makes the next parentCommit a stale one.
void add_commit(Hub& hub, const mu::JsonValue& body) {
  Repo* repo = hub.find_repo(member(body, "type", "model"), member(body, "id"));
  if (!repo) throw mu::usage("no such repository");
  std::string* head = repo->head(member(body, "revision", "main"));
  if (!head) throw mu::usage("no such branch");
  Tree files = head->empty() ? Tree{} : *repo->commits.at(*head).files;
  files[member(body, "path", "other.txt")] = regular_file(member(body, "content", "by somebody else\n"));
  *head =
      repo->add_commit(*head, std::move(files), member(body, "title", "Somebody else was here"), "", "eve")
          .id;
}

// An object of storage is another from here on, of the same size, at the same commit and behind the same links. The
// hub says its new SHA-256.
void replace_object(Hub& hub, const mu::JsonValue& body) {
  Repo* repo = hub.find_repo(member(body, "type", "model"), member(body, "id"));
  if (!repo) throw mu::usage("no such repository");
  const std::string* head = repo->head(member(body, "revision", "main"));
  if (!head || head->empty()) throw mu::usage("no such branch");
  Commit& commit = repo->commits.at(*head);
  Tree files = *commit.files;
  const auto at = files.find(member(body, "path"));
  if (at == files.end() || !at->second.is_lfs()) throw mu::usage("no such file in LFS");
  const BlobPointer old = hub.objects(*repo).at(at->second.sha256);
  const auto blob = std::make_shared<Blob>(old->size(), hub.config.data, false);
  std::vector<std::byte> piece(std::min<std::uint64_t>(old->size(), 1 << 20));
  for (std::uint64_t done = 0; done < old->size(); done += piece.size()) {
    piece.resize(std::min<std::uint64_t>(piece.size(), old->size() - done));
    old->read_at(done, piece);
    if (done + piece.size() == old->size()) piece.back() ^= std::byte{1};
    blob->write_at(done, piece);
  }
  hub.objects(*repo)[at->second.sha256] = blob;
  at->second = lfs_file(blob, blob->sha256());
  hub.objects(*repo)[at->second.sha256] = blob;
  commit.files = std::make_shared<const Tree>(std::move(files));
}

void reset(Hub& hub) {
  hub.stalls.release();
  hub.plain_files.clear();
  hub.faults.clear();
  hub.log.clear();
  hub.repos.clear();
  hub.renamed.clear();
  hub.uploads.clear();
  hub.common_objects.clear();
  hub.used.clear();
}

}  // namespace

Answer admin(Hub& hub, Request& request) {
  const std::string_view target = std::string_view(request.target).substr(hub.config.path_prefix.size());
  const std::size_t mark = target.find('?');
  const Query query = parse_query(mark == std::string_view::npos ? "" : target.substr(mark + 1));
  const std::string call = request.method + " " + std::string(target.substr(0, mark)).substr(8);
  const mu::JsonDocument document = mu::parse_json(request.body.empty() ? "{}" : request.body);
  const mu::JsonValue& body = document.root;
  if (call == "GET log") return json_answer(hub.log.json());
  if (call == "DELETE log") return hub.log.clear(), json_answer("{}\n");
  if (call == "POST fault") return hub.faults.add(body), json_answer("{}\n");
  if (call == "GET fault") return json_answer(fmt::format("{{\"left\":{}}}\n", hub.faults.left()));
  if (call == "DELETE fault") return hub.faults.clear(), json_answer("{}\n");
  if (call == "GET stalled") {
    const std::uint64_t count = std::stoull("0" + query_value(query, "count"));
    const std::uint64_t held = hub.stalls.await(count, std::chrono::seconds(60));
    return json_answer(fmt::format("{{\"stalled\":{}}}\n", held), held < count ? 504 : 200);
  }
  if (call == "DELETE stalled") return hub.stalls.release(), json_answer("{}\n");

  const std::lock_guard lock(hub.mutex);
  if (call == "POST reset") return reset(hub), json_answer("{}\n");
  if (call == "POST token") return add_token(hub, body), json_answer("{}\n");
  if (call == "POST replace") return replace_object(hub, body), json_answer("{}\n");
  if (call == "POST commit") return add_commit(hub, body), json_answer("{}\n");
  if (call == "POST repo") {
    const std::string id = member(body, "id");
    hub.add_repo(member(body, "type", "model"), id, id.substr(0, id.find('/')), body.find_true("private"));
    return json_answer("{}\n");
  }
  if (call == "GET repo") {
    const std::string type = query_value(query, "type");
    const Repo* repo = hub.find_repo(type.empty() ? "model" : type, query_value(query, "id"));
    if (!repo) return text_answer(404, "no such repository\n");
    return json_answer(repo_json(hub, *repo));
  }
  return text_answer(404, "no such admin call: " + call + "\n");
}

}  // namespace hub
