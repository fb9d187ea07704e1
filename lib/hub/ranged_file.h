// SPDX-License-Identifier: Apache-2.0
// One file behind a URL, read by ranges from any number of threads, as one version of it and no other.
//
// A hub answers with a redirect to storage. Where it leads is remembered (file_link.h) and asked for anew when it has
// expired. Every range must be the one that was asked for. The hub's hash of the file stays the same over all
// redirects; the storage's entity tag only behind one link, since a bridge makes its own. Without a hub, the
// entity tag of the first answer is held, or else the date of the last change and the length. What fails in the
// middle goes on from the byte that it reached, within the session's patience.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "hub/file_link.h"
#include "hub/repo_facts.h"
#include "hub/session.h"

namespace mu {

struct RangedSource {
  std::string url;   // where it is looked up
  std::string name;  // for messages
  // Of a hub's file: what its listing says, and a way to ask again at the same commit (nothing: it has gone).
  std::optional<RemoteFile> listed{};
  std::function<std::optional<RemoteFile>()> look_up{};
};

class RangedFile {
 public:
  RangedFile(HubSession& session, RangedSource source);

  // Fetches the first bytes and keeps them; of safetensors the header and no more. Learns the size where no listing
  // says it. Before any other thread reads.
  void read_head(bool is_safetensors);
  void set_head(std::string head) { head_ = std::move(head); }  // that is known already; likewise
  [[nodiscard]] std::string_view head() const { return head_; }
  [[nodiscard]] std::uint64_t size() const { return size_.value_or(0); }

  // The SHA-256 that a hub says; empty if none does.
  [[nodiscard]] std::string sha256() const;
  // What tells this version of the file from others: a hash, an entity tag, a date; empty: nothing does.
  [[nodiscard]] std::string version() const;
  // False if only a date and the length are held.
  [[nodiscard]] bool is_held_firmly() const;

  // Fills `out`, which ends within the file. A file that is read whole at once is compared with the hash of its
  // listing. Throws kRemote for a file that changed, a hash that is another, a server that can't send ranges, and for
  // what the hub refuses; kTemporary when patience is at its end.
  void read(std::uint64_t offset, std::span<std::byte> out);

 private:
  // What came of one exchange.
  struct Attempt {
    std::uint64_t came = 0;        // bytes that are in their place
    std::optional<Error> fault{};  // what kept the others from coming, though they may come yet
    RetryWait wait{};
  };
  void read_small(std::uint64_t offset, std::span<std::byte> out);
  std::uint64_t fetch(std::uint64_t offset, std::span<std::byte> out);
  Attempt attempt(FileLink::Turn& turn, std::uint64_t offset, std::span<std::byte> out, Patience& patience);
  HttpResponse ask(const Link& link, std::uint64_t offset, std::span<std::byte> out, Patience& patience);
  Attempt judge(const HttpResponse& response, FileLink::Turn& turn, const std::shared_ptr<Link>& link,
                std::uint64_t offset, std::span<std::byte> out, unsigned failed);
  Attempt take_range(const HttpResponse& response, FileLink::Turn& turn, const std::shared_ptr<Link>& link,
                     std::uint64_t offset, std::uint64_t asked, unsigned failed);
  Attempt take_whole(const HttpResponse& response, std::uint64_t offset, std::span<std::byte> out);
  Attempt refused(const HttpResponse& response, FileLink::Turn& turn, const std::shared_ptr<Link>& link,
                  unsigned failed);
  Attempt suspect(const HttpResponse& response, FileLink::Turn& turn, const std::shared_ptr<Link>& link,
                  unsigned failed);
  Attempt later(Error fault, unsigned failed) const;
  void note_hub_hash(const HttpResponse& response);
  void check_whole(std::span<const std::byte> bytes) const;
  [[nodiscard]] bool is_in_git() const;
  [[nodiscard]] std::shared_ptr<const std::string> kept_whole() const;
  [[nodiscard]] Validators first_answer() const;
  [[nodiscard]] Error unexpected(std::string_view why) const;
  [[nodiscard]] Error changed(std::string_view how) const;

  HubSession& session_;
  const RangedSource source_;
  std::optional<std::uint64_t> size_;  // of a bare URL, known from read_head() on; threads only read it
  std::string head_;
  FileLink link_;
  std::atomic<bool> ranges_work_ = false;     // a range has come
  mutable std::mutex mutex_;                  // guards what follows
  std::string hub_hash_;                      // SHA-256 or git id: what the hub's redirects say
  Validators first_;                          // of the first answer
  std::shared_ptr<const std::string> whole_;  // of a small file that the server gave instead of a range
  std::mutex block_mutex_;                    // guards block_ and block_at_
  std::string block_;
  std::uint64_t block_at_ = 0;
};

}  // namespace mu
