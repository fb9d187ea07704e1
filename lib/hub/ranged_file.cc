// SPDX-License-Identifier: Apache-2.0
// A read asks until all its bytes are there: attempt() follows redirects to one answer, judge() says what came of it.
// Small reads are served from a block of 64 KiB, since readers of formats take a few bytes at a time; large ones go
// straight to the caller's buffer and share no lock.
//
// An answer that does not belong to what was read before (200 in answer to a range, another entity tag or size) need not
// mean that the file changed: the storage may have moved it. The hub is asked for its hash once more, at the same
// commit, and decides.
#include "hub/ranged_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "base/text.h"
#include "hash/git_blob.h"
#include "hash/sha256.h"
#include "net/url.h"
#include "weights/safetensors.h"

namespace mu {
namespace {

constexpr std::uint64_t kFirst = 100'001;         // bytes of the first request; most headers fit
constexpr std::uint64_t kBlock = 64U << 10;       // bytes read ahead of small reads
constexpr std::uint64_t kFirstBlock = 4096;       // bytes of the first of them
constexpr std::uint64_t kNear = 4096;             // bytes that a reader may skip and still goes on
constexpr std::uint64_t kMaxPiece = 16ULL << 20;  // bytes a request
constexpr std::uint64_t kProgress = 64U << 10;    // bytes after which a failure counts as the first one
constexpr int kMaxHops = 5;

void copy(std::string_view from, std::uint64_t at, std::span<std::byte> out) {
  std::memcpy(out.data(), from.data() + at, out.size());
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 && is_lower_hex(text);
}

// What a server says, without the parts of the link that it may have copied: they are a signature.
HttpResponse without_query(HttpResponse response, std::string_view url) {
  constexpr std::size_t kShort = 8;  // characters that keep no secret
  const std::size_t query = url.find('?');
  if (query == std::string_view::npos) return response;
  const auto mask = [](std::string& text, std::string_view secret) {
    for (std::size_t at = text.find(secret); at != std::string::npos; at = text.find(secret, at))
      text.replace(at, secret.size(), std::string("***"));
  };
  for (const std::string_view part : split(url.substr(query + 1), '&')) {
    const std::string_view value = part.substr(part.find('=') + 1);  // all of it where there is none
    if (value.size() < kShort) continue;
    for (const std::string& form : {std::string(value), percent_decode(value)}) {
      mask(response.body, form);
      for (HttpHeader& header : response.headers) mask(header.value, form);
    }
  }
  return response;
}

bool is_redirect(const HttpResponse& response) {
  return response.status >= 300 && response.status < 400 && response.header("location") != nullptr;
}

}  // namespace

RangedFile::RangedFile(HubSession& session, RangedSource source)
    : session_(session), source_(std::move(source)) {
  if (source_.listed) size_ = source_.listed->size;
}

void RangedFile::read_head(bool is_safetensors) {
  if (size_ == 0U) return;
  std::string head(static_cast<std::size_t>(std::min(kFirst, size_.value_or(kFirst))), '\0');
  head.resize(static_cast<std::size_t>(fetch(0, std::as_writable_bytes(std::span(head)))));
  if (is_safetensors && head.size() >= 8) {
    std::uint64_t header = 0;
    std::memcpy(&header, head.data(), 8);
    if (header <= kMaxSafetensorsHeader && header + 8 <= size()) {
      const std::size_t have = std::min(head.size(), static_cast<std::size_t>(header + 8));
      head.resize(static_cast<std::size_t>(header + 8));
      if (have < head.size()) fetch(have, std::as_writable_bytes(std::span(head)).subspan(have));
    }
  }
  head.shrink_to_fit();
  head_ = std::move(head);
}

std::string RangedFile::sha256() const {
  if (source_.listed) return source_.listed->sha256;
  const std::lock_guard<std::mutex> lock(mutex_);
  return is_sha256(hub_hash_) ? hub_hash_ : "";
}

std::string RangedFile::version() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return !hub_hash_.empty() ? hub_hash_ : !first_.tag.empty() ? first_.tag : first_.modified;
}

bool RangedFile::is_held_firmly() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return source_.listed || !hub_hash_.empty() || !first_.tag.empty();
}

void RangedFile::read(std::uint64_t offset, std::span<std::byte> out) {
  const std::span<std::byte> all = out;
  if (offset < head_.size()) {
    const std::size_t here = std::min(out.size(), static_cast<std::size_t>(head_.size() - offset));
    copy(head_, offset, out.first(here));
    out = out.subspan(here);
    offset += here;
  }
  if (!out.empty() && (out.size() < kBlock || size() <= kBlock)) {
    read_small(offset, out);
    out = {};
  }
  while (!out.empty()) {
    const std::size_t piece = std::min(out.size(), static_cast<std::size_t>(kMaxPiece));
    fetch(offset, out.first(piece));
    out = out.subspan(piece);
    offset += piece;
  }
  if (all.size() == size()) check_whole(all);
}

// Readers of formats take a few bytes at a time. Those that go on where others ended are served from blocks that grow;
// a read somewhere else costs little more than it asks for, and those of several threads go on at the same time. Of a
// small file all is read.
void RangedFile::read_small(std::uint64_t offset, std::span<std::byte> out) {
  std::unique_lock<std::mutex> lock(block_mutex_);
  const std::uint64_t end = block_at_ + block_.size();
  if (offset >= block_at_ && offset + out.size() <= end) return copy(block_, offset - block_at_, out);
  const bool goes_on = !block_.empty() && offset >= block_at_ && offset <= end + kNear;
  const std::uint64_t ahead = goes_on ? std::min<std::uint64_t>(kBlock, 4 * block_.size()) : kFirstBlock;
  const bool all = size() <= kBlock;
  const std::uint64_t begin = all ? head_.size() : offset;
  const std::uint64_t most = all ? kBlock : std::max<std::uint64_t>(ahead, out.size());
  std::string block(static_cast<std::size_t>(std::min(most, size() - begin)), '\0');
  if (!all) lock.unlock();
  fetch(begin, std::as_writable_bytes(std::span(block)));
  copy(block, offset - begin, out);
  if (!all) lock.lock();
  block_ = std::move(block);
  block_at_ = begin;
}

// Returns how many bytes there are; fewer than `out` has only at the end of a file whose size was not known.
std::uint64_t RangedFile::fetch(std::uint64_t offset, std::span<std::byte> out) {
  if (const std::shared_ptr<const std::string> whole = kept_whole()) {
    copy(*whole, offset, out);
    return out.size();
  }
  Patience patience(session_.max_wait_s());
  FileLink::Turn turn(link_);
  std::uint64_t done = 0;
  const auto wanted = [&] {
    return size_ ? std::min<std::uint64_t>(out.size(), *size_ - offset) : out.size();
  };
  try {
    while (done < wanted()) {
      const double begin = session_.clock().now();
      Attempt attempt = this->attempt(turn, offset + done, out.subspan(done), patience);
      done += attempt.came;
      if (attempt.came >= kProgress) {
        patience = Patience(session_.max_wait_s());
        attempt.wait = wait_after_failure(1, session_.clock().dice());
      } else if (attempt.fault && patience.failed() > 0) {
        patience.spend(session_.clock().now() - begin);
      }
      if (!attempt.fault || done == wanted()) continue;
      patience.note_failure();
      if (attempt.wait.seconds > 0 && !session_.wait(attempt.wait, patience, attempt.fault->message()))
        throw Error(*attempt.fault);
    }
  } catch (Error& error) {
    error.in_file(escape_name(source_.name));
    turn.fail(error);
    throw;
  }
  return done;
}

RangedFile::Attempt RangedFile::attempt(FileLink::Turn& turn, std::uint64_t offset, std::span<std::byte> out,
                                        Patience& patience) {
  std::shared_ptr<Link> link = turn.link();
  if (!link) link = std::make_shared<Link>(source_.url, false, first_answer());
  for (int hops = 0; hops <= kMaxHops; ++hops) {
    HttpResponse response;
    try {
      response = ask(*link, offset, out, patience);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kTemporary || is_offline()) throw;
      return later(error, patience.failed());
    }
    if (!is_redirect(response)) return judge(response, turn, link, offset, out, patience.failed());
    note_hub_hash(response);
    link = std::make_shared<Link>(session_.led_to(link->url(), *response.header("location")), true,
                                  first_answer());
    // The hub itself leads on where a repository was renamed: the others wait for what comes of that.
    if (!same_origin(link->url(), source_.url)) turn.found(link);
  }
  throw unexpected(fmt::format("more than {} redirects", kMaxHops));
}

HttpResponse RangedFile::ask(const Link& link, std::uint64_t offset, std::span<std::byte> out,
                             Patience& patience) {
  HttpRequest request;
  request.url = link.url();
  request.headers.push_back({"Range", fmt::format("bytes={}-{}", offset, offset + out.size() - 1)});
  request.headers.push_back({"Accept-Encoding", "identity"});
  if (std::string held = link.if_range(); !held.empty())
    request.headers.push_back({"If-Range", std::move(held)});
  request.into = out;
  request.max_answer = is_in_git() ? size() : 0;
  return session_.send_url_once(std::move(request), true, patience);
}

RangedFile::Attempt RangedFile::judge(const HttpResponse& response, FileLink::Turn& turn,
                                      const std::shared_ptr<Link>& link, std::uint64_t offset,
                                      std::span<std::byte> out, unsigned failed) {
  if (response.status == 206) return take_range(response, turn, link, offset, out.size(), failed);
  if (response.status != 200 && response.status != 416) return refused(response, turn, link, failed);
  const std::string* const type = response.header("content-type");
  if (response.status == 200 && type != nullptr && type->starts_with("text/html"))
    throw unexpected("the server sent a web page instead of the file");
  if (response.status == 200 && is_in_git() && response.body.size() == size())
    return take_whole(response, offset, out);
  const std::string* const range = response.header("content-range");
  if (response.status == 416 && !size_ && range != nullptr && *range == "bytes */0") {
    size_ = 0;
    return {};
  }
  if (ranges_work_) return suspect(response, turn, link, failed);
  throw unexpected(response.status == 200 ? "the server ignores range requests, and sends the whole file"
                                          : "the server refuses range requests");
}

RangedFile::Attempt RangedFile::take_range(const HttpResponse& response, FileLink::Turn& turn,
                                           const std::shared_ptr<Link>& link, std::uint64_t offset,
                                           std::uint64_t asked, unsigned failed) {
  const std::string* const encoding = response.header("content-encoding");
  if (encoding != nullptr && lower_ascii(*encoding) != "identity")
    throw unexpected("the server compresses ranges of the file");
  const bool is_whole = response.torn.empty();
  const std::string* const header = response.header("content-range");
  const std::optional<ContentRange> range = header == nullptr ? std::nullopt : parse_content_range(*header);
  if (!range) throw unexpected("the server does not say which range it sent");
  if (range->begin != offset || range->end > offset + asked || response.received > range->end - offset ||
      (is_whole && response.received != range->end - offset))
    throw unexpected(
        fmt::format("bytes {} to {} were requested, but others came", offset, offset + asked - 1));
  const Validators validators = validators_of(response, session_.clock().now());
  const bool is_other_size = size_ && range->total != *size_;
  if (is_other_size && !ranges_work_)
    throw unexpected(fmt::format("it has {} bytes, not {}", range->total, size()));
  if (is_other_size || !link->hold(validators)) return suspect(response, turn, link, failed);
  if (!size_) size_ = range->total;
  if (!ranges_work_.exchange(true)) {
    const std::lock_guard<std::mutex> lock(mutex_);
    first_ = validators;
  }
  if (!link->is_redirected()) note_hub_hash(response);
  turn.settle(link);
  Attempt attempt;
  if (!is_whole)
    attempt = later(Error(ErrorKind::kTemporary, response.torn), failed);
  else if (response.received < std::min({asked, *size_ - offset, kProgress}))
    attempt = later(Error(ErrorKind::kTemporary, "the server sends less than was asked for"), failed);
  attempt.came = response.received;
  return attempt;
}

// Hubs give small files, which lie in git, from a cache that need not know ranges.
RangedFile::Attempt RangedFile::take_whole(const HttpResponse& response, std::uint64_t offset,
                                           std::span<std::byte> out) {
  check_whole(std::as_bytes(std::span(response.body)));
  copy(response.body, offset, out);
  const std::lock_guard<std::mutex> lock(mutex_);
  whole_ = std::make_shared<const std::string>(response.body);
  Attempt attempt;
  attempt.came = out.size();
  return attempt;
}

// What a link leads to answers 403 when its signature has expired; others say that there is nothing. A new link
// decides: once for what will not pass by waiting.
RangedFile::Attempt RangedFile::refused(const HttpResponse& response, FileLink::Turn& turn,
                                        const std::shared_ptr<Link>& link, unsigned failed) {
  HubRequest request;
  request.what = "read it";
  request.asked = origin(parse_url(link->url()));
  Error error = session_.error(request, without_query(response, link->url()));
  const bool is_expired = link->is_redirected() && (response.status == 401 || response.status == 403);
  const bool is_gone = link->is_redirected() && response.status >= 400 && response.status < 500;
  if (is_expired || (is_gone && failed == 0 && !may_pass(response))) {
    turn.drop(link);
    Attempt attempt = later(Error(ErrorKind::kTemporary, error.message()).hint("try again later"), failed);
    if (failed == 0) attempt.wait = {};
    return attempt;
  }
  const std::optional<RetryWait> wait =
      wait_after(response, failed + 1, session_.clock().now(), session_.clock().dice());
  if (!wait) throw error;
  return {0, std::move(error), *wait};
}

RangedFile::Attempt RangedFile::suspect(const HttpResponse& response, FileLink::Turn& turn,
                                        const std::shared_ptr<Link>& link, unsigned failed) {
  turn.drop(link);
  if (source_.listed) {
    const std::optional<RemoteFile> now = source_.look_up();
    const RemoteFile& then = *source_.listed;
    if (!now) throw changed("it is not there any more");
    if (now->size != then.size) throw changed(fmt::format("it has {} bytes, not {}", now->size, then.size));
    if (now->sha256 != then.sha256 || now->blob != then.blob)
      throw changed("the hub says another hash of it");
  } else {
    const std::string* const length = response.header("content-length");
    const bool is_other_size =
        response.status == 200 && length != nullptr && *length != std::to_string(size());
    const std::lock_guard<std::mutex> lock(mutex_);
    if (hub_hash_.empty() && (response.status != 200 || is_other_size ||
                              first_.differ(validators_of(response, session_.clock().now()))))
      throw changed("the server has another version");
  }
  if (response.status == 416) throw unexpected("the server refuses a range that is in the file");
  return later(
      Error(ErrorKind::kTemporary,
            fmt::format("{} sends something else than before, though it says that the file is the same",
                        origin(parse_url(link->url())))),
      failed);
}

RangedFile::Attempt RangedFile::later(Error fault, unsigned failed) const {
  return {0, std::move(fault), wait_after_failure(failed + 1, session_.clock().dice())};
}

// The hub says the hash of a file wherever it says where the file is.
void RangedFile::note_hub_hash(const HttpResponse& response) {
  const std::string* const linked = response.header("x-linked-etag");
  if (linked == nullptr) return;
  const std::string hash(bare_tag(*linked));
  const std::string listed = sha256();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (hub_hash_.empty()) hub_hash_ = hash;
  if (hub_hash_ != hash || (is_sha256(hash) && !listed.empty() && hash != listed))
    throw changed("the hub says another hash of it");
}

void RangedFile::check_whole(std::span<const std::byte> bytes) const {
  const std::string sha256 = this->sha256();
  const std::string blob = is_in_git() && source_.listed->blob.size() == 40 ? source_.listed->blob : "";
  std::string is;
  if (!sha256.empty()) {
    Sha256 hash;
    hash.update(bytes);
    is = to_hex(hash.finish());
  } else if (!blob.empty()) {
    GitBlobId id(bytes.size());
    id.update(bytes);
    is = id.finish();
  }
  const std::string& listed = sha256.empty() ? blob : sha256;
  if (is != listed)
    throw Error(ErrorKind::kRemote,
                fmt::format("its {} is {}, but the hub says {}", sha256.empty() ? "git id" : "SHA-256", is,
                            session_.shown(listed)))
        .in_file(escape_name(source_.name))
        .hint("try again; if it stays so, the file on the hub is damaged");
}

bool RangedFile::is_in_git() const {
  return source_.listed && source_.listed->sha256.empty() && size() <= kMaxPage;
}

std::shared_ptr<const std::string> RangedFile::kept_whole() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return whole_;
}

// What every later answer is held to where no hub says a hash.
Validators RangedFile::first_answer() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return source_.listed || !hub_hash_.empty() ? Validators() : first_;
}

Error RangedFile::unexpected(std::string_view why) const {
  return Error(ErrorKind::kRemote, std::string(why))
      .in_file(escape_name(source_.name))
      .hint("download the file, then open the copy");
}

Error RangedFile::changed(std::string_view how) const {
  return Error(ErrorKind::kRemote, fmt::format("changed while it was being read: {}", how))
      .in_file(escape_name(source_.name))
      .hint("run the command again");
}

}  // namespace mu
