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
#include "hub/attributes.h"
#include "os/interrupt.h"
#include "os/spool.h"

namespace mu {
namespace {

constexpr std::size_t kPiece = 3U << 18;  // bytes; a multiple of 3, so that pieces of base64 can be joined

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
      throw Error(ErrorKind::kTemporary, "it changed while it was being sent")
          .in_file(escape_name(local.path))
          .hint("try again");
  };
  require_same();
  spool.append(as_bytes(R"({"key":"file","value":{"content":")"));
  GitBlobId blob(item.size);
  std::vector<std::byte> piece;
  for (std::uint64_t at = 0; at < item.size; at += piece.size()) {
    check_interrupt();
    piece.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, item.size - at)));
    file.read_at(at, piece);
    blob.update(piece);
    spool.append(as_bytes(to_base64(piece)));
  }
  require_same();
  const std::string oid = blob.finish();
  if (!item.oid.empty() && item.oid != oid)
    throw Error(ErrorKind::kTemporary, "it changed after it was hashed").in_file(escape_name(local.path));
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
  require_commit_id(*oid, "commit");
  result.commit = *oid;
  result.url = api.commit_url(*oid, url == nullptr ? "" : *url);
  if (const std::string* output = answer.find_string("hookOutput")) result.output = *output;
  return result;
}

// The outcome of one try.
struct Answer {
  enum class Says : std::uint8_t { kMade, kNotNow, kPerhaps, kRefused } says = Says::kPerhaps;
  int status = 0;  // 0: no answer
  CommitResult made;
  RetryWait wait{0};
  Error error{ErrorKind::kTemporary, ""};
};

// Whether a commit may have been made in spite of this refusal, or may be made when it is sent again.
bool may_be_made(const HttpResponse& response) {
  const int status = response.status;
  return status == 409 || status == 412 || status == 413 || (status != 429 && may_pass(response));
}

Answer send_once(HubApi& api, const CommitTask& task, const HttpBody& body, Patience& patience) {
  const HubSession& session = api.session();
  Answer answer;
  answer.wait = wait_after_failure(patience.failed() + 1, session.clock().dice());
  try {
    const HttpResponse response = api.commit(task.revision, body, patience);
    answer.status = response.status;
    if (response.ok()) {
      answer.made = read_result(api, response);
      answer.says = Answer::Says::kMade;
      return answer;
    }
    answer.error = session.error(api.commit_request(task.revision), response);
    const double now = session.clock().now();
    if (const std::optional<RetryWait> wait =
            wait_after(response, patience.failed() + 1, now, session.clock().dice()))
      answer.wait = *wait;
    if (response.status == 429) answer.says = Answer::Says::kNotNow;
    const bool no_room = response.status == 413 && is_about_quota(hub_message(response));
    if (no_room || (response.status != 429 && !may_be_made(response))) answer.says = Answer::Says::kRefused;
  } catch (const Error& error) {
    // There was no answer, or one that can't be read; the commit may have been made.
    if (error.kind() != ErrorKind::kTemporary && answer.status == 0) throw;
    answer.error = error;
  }
  return answer;
}

// Looks where the revision stands, after an answer that leaves it open.
RevisionState look(HubApi& api, const CommitTask& task, Patience& patience, const Error& why) {
  try {
    return api.find_revision(task.revision, &patience);
  } catch (const Error& error) {
    throw Error(ErrorKind::kTemporary,
                fmt::format("{}; it is not known whether the commit was made: {}", why.what(), error.what()))
        .hint("run the same command again");
  }
}

}  // namespace

HttpBody commit_body(const CommitMessage& message, const std::string& parent, const CommitItems& items) {
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

bool is_amended_there(HubApi& api, const std::string& revision, const PushItem& item) {
  if (item.name != kAttributes || item.local == nullptr) return false;
  const std::optional<std::string> theirs = api.read_text(revision, item.name);
  return theirs && is_amended(read_whole_file(item.local->path, item.size), *theirs);
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
    if (!same && !(found != there.end() && is_amended_there(api, revision, *item)))
      differing.push_back(item->name);
  }
  return differing;
}

SentCommit send_commit(HubApi& api, const CommitTask& task) {
  const HttpBody body = commit_body(task.message, task.parent, task.items);
  Patience patience(api.session().max_wait_s());
  while (true) {
    const double begin = api.session().clock().now();
    const Answer answer = send_once(api, task, body, patience);
    if (patience.failed() > 0) patience.spend(api.session().clock().now() - begin);
    if (answer.says == Answer::Says::kMade) return {SentCommit::Fate::kMade, answer.made};
    if (answer.says == Answer::Says::kRefused) throw answer.error;
    if (answer.says == Answer::Says::kPerhaps) {
      // Look before anything is sent twice.
      const RevisionState now = look(api, task, patience, answer.error);
      if (now.commit != task.parent) {
        const bool ours = api.newest_title(now.commit) == task.message.title &&
                          find_differing(api, now.commit, {task.items.begin(), task.items.end()}).empty();
        if (!ours) return {SentCommit::Fate::kMoved, {}};
        return {SentCommit::Fate::kMade, {now.commit, api.commit_url(now.commit), ""}};
      }
      if (answer.status >= 200 && answer.status < 300) throw answer.error;  // a success, but nothing was made
      const bool too_large = answer.status == 413 || answer.status == 504;
      if (too_large && task.items.size() > kSmallCommit) return {SentCommit::Fate::kTooLarge, {}};
    }
    patience.note_failure();
    const bool hopeless = answer.status == 413;  // the same commit stays too large
    if (!hopeless && api.session().wait(answer.wait, patience, answer.error.message())) continue;
    std::string text = answer.error.message();
    if (!task.unchanged.empty()) text += fmt::format("; {}", task.unchanged);
    throw Error(ErrorKind::kTemporary, std::move(text))
        .hint(hopeless ? "try a smaller --max-files-per-commit" : "run the same command again");
  }
}

}  // namespace mu
