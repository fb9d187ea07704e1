// SPDX-License-Identifier: Apache-2.0
// The state of the Hub and what all its handlers share: who calls, which repository, how refusals look.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "codec.h"
#include "faults.h"
#include "http.h"
#include "log.h"
#include "repo.h"

namespace hub {

struct Config {
  bool kohaku = false;                             // answer as KohakuHub does where it differs
  std::string path_prefix;                         // of all URLs, "" or "/hf": a Hub behind a reverse proxy
  std::uint64_t lfs_threshold = 0;                 // bytes from which a file goes to LFS; 0: regular_limit
  std::uint64_t multipart_threshold = 32'000'000;  // bytes above which an object is sent in parts
  std::uint64_t chunk_size = 16'000'000;           // bytes of a part
  std::uint64_t regular_limit = 10 << 20;          // bytes of a regular file in a commit
  std::uint64_t folder_limit = 10'000;             // entries of a folder
  std::uint64_t page_size = 1000;                  // entries of a page of tree and commits
  std::uint64_t link_seconds = 0;                  // life of signed links; 0: 900 s, of parts a day
  std::uint64_t quota = 100'000, window_seconds = 300;  // requests a token may send, enforced
  std::string data;                                     // folder for object bodies; "" keeps them in memory
  bool discard = false;                  // keep no bodies, hash nothing: sizes alone are checked
  std::chrono::milliseconds latency{0};  // before each answer
  std::uint64_t rate = 0;                // bytes of files a second, over all connections; 0: no limit
  bool link_etags = false;               // of storage: another for each signed link
  bool verify_action = true;
};

struct Account {
  std::string user;
  std::string role;  // write, read, pr
  std::set<std::string> orgs;
};

// A multipart upload that is under way.
struct Upload {
  std::string prefix, oid;  // storage key
  std::uint64_t size = 0, chunk_size = 0;
  std::shared_ptr<Blob> blob;
  std::vector<std::string> etags;  // with quotes, by part - 1; "" is missing
  bool closed = false;
  std::shared_mutex mutex;  // writers of parts share it; closing takes it alone
};

// Requests that a fault holds back, so that a test can wait for them and let them go.
class Stalls {
 public:
  // Until the time is over or they are released; or the client leaves, then it returns false.
  bool hold(Wire& wire, std::chrono::milliseconds time);
  std::uint64_t await(std::uint64_t count, std::chrono::seconds most);  // the number that are held
  void release();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t held_ = 0;
  std::atomic<std::uint64_t> releases_ = 0;
};

// A file without a hub, as a plain web server gives it.
struct PlainFile {
  BlobPointer blob;
  std::string etag, modified;  // "": none
  std::string ranges;          // "": they work; "ignore": all of it comes; "none": and the answer says so
};

struct Hub {
  Config config;
  std::string url, storage_url;  // bases, without a slash at the end
  Faults faults;
  Log log;
  Stalls stalls;
  const std::string secret = random_hex(32);

  std::mutex mutex;  // guards everything below
  std::map<std::string, Account> tokens;
  std::map<std::string, Repo> repos;           // by "type/id" in lower case
  std::map<std::string, std::string> renamed;  // the same -> new id
  std::map<std::string, std::shared_ptr<Upload>> uploads;
  std::map<std::string, BlobPointer> common_objects;                    // kohaku: one storage for all
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> used;  // requests by caller: window, count
  std::uint64_t repos_made = 0;
  std::map<std::string, PlainFile> plain_files;  // by name

  Repo* find_repo(const std::string& type, const std::string& id);
  Repo& add_repo(const std::string& type, const std::string& id, const std::string& owner, bool is_private);
  std::map<std::string, BlobPointer>& objects(Repo& repo) {
    return config.kohaku ? common_objects : repo.objects;
  }
  Repo* repo_of_prefix(const std::string& prefix);
  // A signed, expiring link into storage. `query` is "a=1&b=2".
  std::string signed_link(const std::string& method, const std::string& path, const std::string& query,
                          std::uint64_t seconds);
  // Throws Refusal 403 as S3 does when the signature is not ours or the link is too old.
  void check_signature(const std::string& method, const std::string& path, const Query& query);
};

// An answer that ends a handler early.
struct Refusal {
  Answer answer;
};

// A request on its way through a handler of the Hub.
struct Call {
  Hub& hub;
  Request& request;
  Query query;
  std::string route;                // name, see routes.h
  std::string type, id;             // of the repository, as asked for
  std::vector<std::string> rest;    // segments after it, decoded
  std::optional<Fault> fault;       // for the handler to play
  const Account* caller = nullptr;  // null: nobody
  Repo* repo = nullptr;
  std::unique_lock<std::mutex> lock = {};  // of the Hub, held while its handler runs

  [[nodiscard]] bool plays(std::string_view kind) const { return fault && fault->kind == kind; }
  [[nodiscard]] Refusal refuse(int status, const std::string& message, const std::string& code = {}) const;
  [[nodiscard]] const std::string& revision() const { return rest.at(0); }
  [[nodiscard]] std::string path_after(std::size_t first) const;  // segments joined again

  // The body as JSON object of content type application/json. Throws Refusal 400 or 415.
  [[nodiscard]] mu::JsonDocument json() const;
  // Throws Refusal 401 without a caller.
  const Account& someone() const;
  [[nodiscard]] bool may_write() const;
  // Throws Refusal: 401, 403, and 403 with advice on create_pr for who may open pull requests.
  void must_write(bool create_pr) const;
  const Commit& commit(const std::string& wanted) const;  // throws Refusal 404 RevisionNotFound
  [[nodiscard]] std::string repo_api() const;             // URL /api/models/ID
};

Answer json_answer(std::string body, int status = 200);
Answer text_answer(int status, std::string text);
Answer xml_error(int status, const std::string& code, const std::string& message);  // as S3
// {"error": message} with the headers of the Hub, or as KohakuHub says it.
Answer error_answer(bool kohaku, int status, const std::string& message, const std::string& code = {});
bool belongs(const Account& account, const std::string& owner);
// What a range is held to.
struct Validators {
  std::string etag, modified;  // with quotes; "": none
};
// Bytes of `blob`, the range alone that the request asks for: 200, 206 or 416. If-Range is honoured.
Answer content_answer(const Request& request, BlobPointer blob, Validators held,
                      const std::optional<Fault>& fault);

}  // namespace hub
