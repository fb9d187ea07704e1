// SPDX-License-Identifier: Apache-2.0
// The calls of a hub's HTTP API that publishing needs, one function for each: arguments become a request, the
// answer becomes values. Shapes as huggingface_hub 2.4.0 sends and reads them. Refusals are thrown as
// HubSession::error().
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

// Texts that are pushed to the root of the repository, and count already when files are asked about.
struct RootFiles {
  std::optional<std::string> gitignore, gitattributes;
};

class HubApi {
 public:
  HubApi(HubSession& session, Repo repo) : session_(session), repo_(std::move(repo)) {}

  [[nodiscard]] const Repo& repo() const { return repo_; }
  [[nodiscard]] HubSession& session() const { return session_; }

  // The name of the token's account, which owns repositories with a bare name.
  std::string whoami();
  void set_owner(const std::string& owner) { repo_.id = owner + "/" + repo_.id; }

  RevisionState find_revision(const std::string& revision, Patience* patience = nullptr);
  // Makes the repository; returns false if it exists. Without `make_private` the owner's settings decide.
  bool create_repo(std::optional<bool> make_private);
  bool create_branch(const std::string& name);  // of main; false if it exists
  void create_tag(const std::string& name, const std::string& revision, const std::string& message);
  // Opens a draft pull request and returns its number.
  std::uint64_t open_pull_request(const std::string& title, const std::string& description);

  // Checks a README's metadata: throws kRemote for errors, returns warnings. Hubs without this check return
  // none.
  std::vector<std::string> validate_card(const std::string& text);

  // Asks about at most kPreuploadGroup files. Returns the answers in their order.
  std::vector<PreuploadAnswer> preupload(const std::string& revision, const std::vector<PreuploadFile>& files,
                                         const RootFiles& own, bool pull_request);

  // The files below `path`; empty: all files.
  std::vector<RemoteFile> list_files(const std::string& revision, const std::string& path);
  // The files among `paths` that exist.
  std::vector<RemoteFile> find_files(const std::string& revision, const std::vector<std::string>& paths);

  // The text of a small file; nothing if it does not exist.
  std::optional<std::string> read_text(const std::string& revision, const std::string& path);

  // The title of the newest commit of a revision; empty if the hub doesn't say.
  std::string newest_title(const std::string& revision);

  // Sends a commit (NDJSON) once and returns any answer. Throws kTemporary if there was none; the commit may
  // have been made all the same.
  HttpResponse commit(const std::string& revision, const HttpBody& body, Patience& patience);
  HubRequest commit_request(const std::string& revision) const;

  [[nodiscard]] std::string commit_url(const std::string& commit) const;
  // `reported` if it is a URL of this hub; else as above.
  [[nodiscard]] std::string commit_url(const std::string& commit, std::string_view reported) const;
  [[nodiscard]] std::string pull_request_url(std::uint64_t number) const;

 private:
  static std::vector<RemoteFile> read_files(const JsonValue& list, std::string_view what);

  HubSession& session_;
  Repo repo_;
};

// Throws kRemote for an id of other characters than letters and digits: ids become part of URLs and messages.
void require_commit_id(const std::string& id, std::string_view what);

// The URL below `endpoint` that a hub reported, perhaps as a path alone. Empty for anything else: another
// host or scheme, or characters that don't belong in a URL.
std::string hub_url(std::string_view reported, const std::string& endpoint);

}  // namespace mu
