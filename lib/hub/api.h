// SPDX-License-Identifier: Apache-2.0
// The calls of a hub's HTTP API that publishing needs, one function a call: arguments into a request, the
// answer into values. Shapes as huggingface_hub 2.4.0 sends and reads them. What a hub refuses is thrown as
// HubSession::error() says it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/repo.h"
#include "hub/repo_facts.h"
#include "hub/session.h"

namespace mu {

struct PreuploadFile {
  std::string path;
  std::uint64_t size = 0;
  std::string sample;  // its first bytes, at most kSampleBytes
};
constexpr std::size_t kSampleBytes = 512;
constexpr std::size_t kPreuploadGroup = 256;  // files a call

// Texts that go along to the root of the repository and decide already.
struct RootFiles {
  std::optional<std::string> gitignore, gitattributes;
};

class HubApi {
 public:
  HubApi(HubSession& session, Repo repo) : session_(session), repo_(std::move(repo)) {}

  [[nodiscard]] const Repo& repo() const { return repo_; }
  [[nodiscard]] HubSession& session() const { return session_; }

  // Name of the account; for bare repository names.
  std::string whoami();
  void set_owner(const std::string& owner) { repo_.id = owner + "/" + repo_.id; }

  RevisionState find_revision(const std::string& revision, Patience* patience = nullptr);
  // Makes the repository; one that exists is fine (false). No visibility: what the owner's settings say.
  bool create_repo(std::optional<bool> make_private);
  bool create_branch(const std::string& name);
  void create_tag(const std::string& name, const std::string& revision, const std::string& message);
  // Opens a draft pull request; the result is its number.
  std::uint64_t open_pull_request(const std::string& title, const std::string& description);

  // Throws kRemote with the errors of a README's metadata; the result are warnings. Hubs without such a check
  // find nothing.
  std::vector<std::string> validate_card(const std::string& text);

  // At most kPreuploadGroup files. The answers stand in the order of the files.
  std::vector<PreuploadAnswer> preupload(const std::string& revision, const std::vector<PreuploadFile>& files,
                                         const RootFiles& own, bool pull_request);

  // The files below `path` (empty: all).
  std::vector<RemoteFile> list_files(const std::string& revision, const std::string& path);
  // Those of the paths that exist there.
  std::vector<RemoteFile> find_files(const std::string& revision, const std::vector<std::string>& paths);

  // The text of a small file; nothing where there is none.
  std::optional<std::string> read_text(const std::string& revision, const std::string& path);

  // Title of the newest commit of a revision; empty where the hub doesn't tell.
  std::string newest_title(const std::string& revision);

  // Sends a commit (NDJSON) once. The answer may be any, and none (kTemporary) does not mean that nothing
  // happened.
  HttpResponse commit(const std::string& revision, const HttpBody& body, Patience& patience);
  HubRequest commit_request(const std::string& revision) const;

  [[nodiscard]] std::string commit_url(const std::string& commit) const;
  // The one that the hub told, where it is one of this hub.
  [[nodiscard]] std::string commit_url(const std::string& commit, std::string_view told) const;
  [[nodiscard]] std::string pull_request_url(std::uint64_t number) const;

 private:
  static std::vector<RemoteFile> read_files(const JsonValue& list, std::string_view what);

  HubSession& session_;
  Repo repo_;
};

// Throws kRemote for an id with other than letters and digits: it stands in URLs and messages.
void require_commit_id(const std::string& id, std::string_view what);

// A URL below `endpoint` out of what a hub told: a path without host becomes a whole one. Empty for anything
// else: another place, another scheme, characters that don't belong into a URL.
std::string hub_url(std::string_view told, const std::string& endpoint);

}  // namespace mu
