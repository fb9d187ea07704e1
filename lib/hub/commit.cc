// SPDX-License-Identifier: Apache-2.0
#include "hub/commit.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <unordered_map>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/json_write.h"
#include "base/text.h"
#include "hash/git_blob.h"
#include "os/spool.h"

namespace mu {
namespace {

constexpr std::size_t kPiece = 3U << 18;  // bytes; a multiple of 3, so that pieces of base64 can be joined
constexpr unsigned kMaxCommitTries = 5;

void append_line(Spool& spool, std::string line) {
  line += '\n';
  spool.append(as_bytes(line));
}

// {"key":"file","value":{"content":"…","path":"…","encoding":"base64"}}, piece by piece.
void append_regular(Spool& spool, PushItem& item) {
  const LocalFile& local = *item.local;
  const InputFile file(local.path);
  const auto require_same = [&] {
    if (file.stamp() != local.stamp)
      throw Error(ErrorKind::kTemporary, "it changed while it was sent; nothing is committed")
          .in_file(escape_name(local.path))
          .hint("try again");
  };
  require_same();
  spool.append(as_bytes(R"({"key":"file","value":{"content":")"));
  GitBlobId blob(item.size);
  std::vector<std::byte> piece;
  for (std::uint64_t at = 0; at < item.size; at += piece.size()) {
    piece.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, item.size - at)));
    file.read_at(at, piece);
    blob.update(piece);
    spool.append(as_bytes(to_base64(piece)));
  }
  require_same();
  const std::string oid = blob.finish();
  if (!item.oid.empty() && item.oid != oid)
    throw Error(ErrorKind::kTemporary, "it changed after it was hashed; nothing is committed")
        .in_file(escape_name(local.path));
  item.oid = oid;
  std::string tail = "\",\"path\":";
  append_json_string(tail, item.name);
  append_line(spool, tail + R"(,"encoding":"base64"}})");
}

std::string lfs_line(const PushItem& item) {
  std::string line;
  JsonWriter json(line, 0);
  json.begin_object().member("key", "lfsFile").key("value").begin_object();
  json.member("path", item.name).member("algo", "sha256").member("oid", item.oid).member("size", item.size);
  json.end_object().end_object();
  return line;
}

std::string deletion_line(const PushItem& item) {
  std::string line;
  JsonWriter json(line, 0);
  json.begin_object().member("key", "deletedFile").key("value").begin_object().member("path", item.name);
  json.end_object().end_object();
  return line;
}

CommitResult read_result(HubApi& api, const HttpResponse& response) {
  const JsonValue answer = parse_answer(response, "commit");
  CommitResult result;
  const std::string* oid = answer.find_string("commitOid");
  const std::string* url = answer.find_string("commitUrl");
  if (oid == nullptr || oid->empty())
    throw Error(ErrorKind::kRemote, "cannot commit: the answer names no commit");
  result.commit = *oid;
  result.url = url == nullptr || url->empty() ? api.commit_url(*oid) : *url;
  if (const std::string* output = answer.find_string("hookOutput")) result.output = *output;
  return result;
}

bool is_lost(const HttpResponse& response) {
  return response.status >= 500 || response.status == 408;
}

}  // namespace

HttpBody commit_body(const CommitMessage& message, const std::string& parent,
                     const std::vector<PushItem*>& items) {
  Spool spool;
  std::string header;
  JsonWriter json(header, 0);
  json.begin_object().member("key", "header").key("value").begin_object();
  json.member("summary", message.title).member("description", message.description);
  if (!parent.empty()) json.member("parentCommit", parent);
  json.end_object().end_object();
  append_line(spool, header);
  for (PushItem* item : items) {
    if (item->action == PushAction::kDelete) {
      append_line(spool, deletion_line(*item));
    } else if (item->storage == Storage::kLfs) {
      append_line(spool, lfs_line(*item));
    } else {
      append_regular(spool, *item);
    }
  }
  const auto file = std::make_shared<const InputFile>(spool.finish("the commit"));
  return {file->size(),
          [file](std::uint64_t offset, std::span<std::byte> out) { file->read_at(offset, out); }};
}

std::vector<std::string> find_differing(HubApi& api, const std::string& revision,
                                        const std::vector<const PushItem*>& items) {
  std::vector<std::string> paths;
  for (const PushItem* item : items) paths.push_back(item->name);
  std::unordered_map<std::string, RemoteFile> there;
  for (RemoteFile& file : api.find_files(revision, paths)) {
    std::string path = file.path;
    there.emplace(std::move(path), std::move(file));
  }
  std::vector<std::string> differing;
  for (const PushItem* item : items) {
    const auto found = there.find(item->name);
    const bool gone = item->action == PushAction::kDelete;
    const bool same =
        gone ? found == there.end()
             : found != there.end() && found->second.size == item->size &&
                   (item->storage == Storage::kLfs ? found->second.sha256 : found->second.blob) == item->oid;
    if (!same) differing.push_back(item->name);
  }
  return differing;
}

std::optional<CommitResult> send_commit(HubApi& api, const std::string& revision, const std::string& parent,
                                        const CommitMessage& message, const std::vector<PushItem*>& items) {
  const HttpBody body = commit_body(message, parent, items);
  const SessionClock& clock = api.session().clock();
  double waited = 0;
  for (unsigned attempt = 1;; ++attempt) {
    std::string lost;
    try {
      const HttpResponse response = api.commit(revision, body);
      if (response.ok()) return read_result(api, response);
      const bool moved = response.status == 412 || response.status == 409;
      if (!moved && !is_lost(response)) throw api.session().error(api.commit_request(revision), response);
      lost = api.session().error(api.commit_request(revision), response).what();
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kTemporary) throw;
      lost = error.what();
    }
    // Look before anything is sent twice.
    const RevisionState now = api.find_revision(revision);
    if (now.commit != parent) {
      const bool ours = api.newest_title(now.commit) == message.title &&
                        find_differing(api, now.commit, {items.begin(), items.end()}).empty();
      if (!ours) return std::nullopt;
      return CommitResult{now.commit, api.commit_url(now.commit), ""};
    }
    const double pause = wait_after_failure(attempt, clock.dice()).seconds;
    if (attempt >= kMaxCommitTries || waited + pause > api.session().max_wait_s())
      throw Error(ErrorKind::kTemporary, lost + "; the repository is as it was")
          .hint("run the same command again");
    clock.sleep(pause);
    waited += pause;
  }
}

}  // namespace mu
