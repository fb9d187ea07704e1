// SPDX-License-Identifier: Apache-2.0
#include "hub.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/json_write.h"
#include "base/text.h"
#include "hub/attributes.h"

namespace hub {

Answer json_answer(std::string body, int status) {
  Answer answer;
  answer.status = status;
  answer.body = std::move(body);
  return answer.with("Content-Type", "application/json; charset=utf-8");
}

Answer text_answer(int status, std::string text) {
  Answer answer;
  answer.status = status;
  answer.body = std::move(text);
  return answer.with("Content-Type", "text/plain; charset=utf-8");
}

Answer xml_error(int status, const std::string& code, const std::string& message) {
  Answer answer;
  answer.status = status;
  answer.body = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message></Error>", code,
      message);
  return answer.with("Content-Type", "application/xml");
}

Answer error_answer(bool kohaku, int status, const std::string& message, const std::string& code) {
  std::string body;
  mu::JsonWriter json(body, 0);
  json.begin_object();
  if (kohaku) {
    json.key("detail").begin_object().member("error", message).end_object();
  } else {
    json.member("error", message);
  }
  // Refusals are longer than many a file.
  json.member("help", "See https://hub.example/docs for what may be the matter. " + std::string(300, '.'));
  json.end_object();
  Answer answer = json_answer(std::move(body), status);
  answer.with("X-Error-Message", message.substr(0, message.find('\n')));
  if (!code.empty()) answer.with("X-Error-Code", code);
  return answer;
}

bool belongs(const Account& account, const std::string& owner) {
  return lower(account.user) == lower(owner) || account.orgs.contains(owner);
}

Repo* Hub::find_repo(const std::string& type, const std::string& id) {
  const auto at = repos.find(type + "/" + lower(id));
  return at == repos.end() ? nullptr : &at->second;
}

Repo& Hub::add_repo(const std::string& type, const std::string& id, const std::string& owner,
                    bool is_private) {
  const std::string key = type + "/" + lower(id);
  Repo& repo = repos[key] = Repo{};
  repo.type = type;
  repo.id = id;
  repo.owner = owner;
  repo.is_private = is_private;
  // A repository made again starts with an empty storage.
  const std::string hash = sha256_hex(fmt::format("{} {}", key, repos_made++));
  repo.prefix = fmt::format("repos/{}/{}/{}", hash.substr(0, 2), hash.substr(2, 2), hash);
  renamed.erase(key);
  if (!config.kohaku) {
    Tree files;
    files[".gitattributes"] = regular_file(mu::default_attributes());
    repo.branches["main"] = repo.add_commit("", std::move(files), "initial commit", "", owner).id;
  } else {
    repo.branches["main"] = "";
  }
  faults.add_for_name(id);
  return repo;
}

Repo* Hub::repo_of_prefix(const std::string& prefix) {
  for (auto& [key, repo] : repos)
    if (repo.prefix == prefix) return &repo;
  return nullptr;
}

namespace {

// Hex of the hash that makes a link ours: whoever changes a byte of it can't compute this.
std::string sign(const std::string& secret, const std::string& method, const std::string& path,
                 const Query& query) {
  std::string text = secret + "\n" + method + "\n" + path;
  for (const auto& [name, value] : query)
    if (name != "X-Amz-Signature") text += "\n" + name + "=" + value;
  return sha256_hex(text);
}

}  // namespace

std::string Hub::signed_link(const std::string& method, const std::string& path, const std::string& query,
                             std::uint64_t seconds) {
  const std::string all =
      fmt::format("{}&X-Amz-Date={}&X-Amz-Expires={}", query, now_ms(), seconds) + "&x-id=" + random_hex(8);
  return fmt::format("{}/{}?{}&X-Amz-Signature={}", storage_url, path, all,
                     sign(secret, method, path, parse_query(all)));
}

void Hub::check_signature(const std::string& method, const std::string& path, const Query& query) {
  if (sign(secret, method, path, query) != query_value(query, "X-Amz-Signature")) {
    throw Refusal{
        xml_error(403, "SignatureDoesNotMatch", "The signature of this request is not the one expected")};
  }
  const auto number = [&](const char* name) { return std::stoull("0" + query_value(query, name)); };
  if (now_ms() > number("X-Amz-Date") + number("X-Amz-Expires") * 1000 || number("X-Amz-Expires") == 0) {
    throw Refusal{xml_error(403, "AccessDenied", "Request has expired")};
  }
}

Refusal Call::refuse(int status, const std::string& message, const std::string& code) const {
  return {error_answer(hub.config.kohaku, status, message, code)};
}

std::string Call::path_after(std::size_t first) const {
  std::string path;
  for (std::size_t i = first; i < rest.size(); ++i) path += (path.empty() ? "" : "/") + rest[i];
  return path;
}

mu::JsonDocument Call::json() const {
  const std::string* media = request.header("Content-Type");
  if (!media || !lower(*media).starts_with("application/json"))
    throw refuse(415, "the content type must be application/json");
  try {
    mu::JsonDocument document = mu::parse_json(request.body);
    if (!document.root.is_object()) throw refuse(400, "the body must be a JSON object");
    return document;
  } catch (const mu::Error& error) {
    throw refuse(400, fmt::format("invalid JSON: {}", error.what()));
  }
}

const Account& Call::someone() const {
  if (!caller) throw refuse(401, "Invalid username or password.");
  return *caller;
}

bool Call::may_write() const {
  return caller && caller->role == "write" && belongs(*caller, repo->owner);
}

void Call::must_write(bool create_pr) const {
  const Account& account = someone();
  if (may_write() || (create_pr && account.role != "read")) return;
  if (account.role == "read") throw refuse(403, "This token has no write permission");
  throw refuse(
      403,
      "You have no right to write to this repository. Pass `create_pr=1` as a query parameter to open a "
      "Pull Request");
}

const Commit& Call::commit(const std::string& wanted) const {
  const Commit* found = repo->find(wanted);
  if (!found) throw refuse(404, "Invalid rev id: " + wanted, "RevisionNotFound");
  return *found;
}

std::string Call::repo_api() const {
  return fmt::format("{}/api/{}s/{}", hub.url, repo->type, repo->id);
}

bool Stalls::hold(Wire& wire, std::chrono::milliseconds time) {
  const std::uint64_t before = releases_;
  const auto held = [&](std::uint64_t change) {
    const std::lock_guard lock(mutex_);
    held_ += change;
    changed_.notify_all();
  };
  held(1);
  const auto end = std::chrono::steady_clock::now() + time;
  bool stayed = true;
  while (releases_ == before && stayed) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0) break;
    stayed = wire.wait(std::min(left, std::chrono::milliseconds(10)));
  }
  held(static_cast<std::uint64_t>(-1));
  return stayed;
}

std::uint64_t Stalls::await(std::uint64_t count, std::chrono::seconds most) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, most, [&] { return held_ >= count; });
  return held_;
}

void Stalls::release() {
  ++releases_;
}

namespace {

struct Span {
  std::uint64_t first, last;
};

// bytes=FIRST-LAST, bytes=FIRST- or bytes=-COUNT of so many bytes. Nothing: no range that is understood, and all of
// it is the answer. `last` before `first`: it can't be satisfied.
std::optional<Span> wanted_range(const std::string& text, std::uint64_t size) {
  if (!text.starts_with("bytes=") || text.find(',') != std::string::npos) return std::nullopt;
  const std::size_t dash = text.find('-');
  const auto parse = [](std::string_view digits) -> std::optional<std::uint64_t> {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
    return value;
  };
  if (dash == std::string::npos) return std::nullopt;
  std::optional<std::uint64_t> first = parse(std::string_view(text).substr(6, dash - 6)),
                               last = parse(std::string_view(text).substr(dash + 1));
  if (!first && !last) return std::nullopt;
  if (!first) {
    first = size - std::min(size, *last);
    last = size - 1;
  }
  if (*first >= size || (last && *last < *first)) return Span{1, 0};
  return Span{*first, std::min(last.value_or(size - 1), size - 1)};
}

// Another object has come in the place of this one: its ETag and its date are others.
Validators changed(const Validators& held) {
  return {held.etag.empty() ? "" : "\"00000000000000000000000000000000\"",
          held.modified.empty() ? "" : http_date(1'600'000'000)};
}

void flip(std::span<std::byte> bytes) {
  for (std::byte& byte : bytes) byte ^= std::byte{1};
}

}  // namespace

Answer content_answer(const Request& request, BlobPointer blob, Validators held,
                      const std::optional<Fault>& fault) {
  const auto plays = [&](std::string_view kind) { return fault && fault->kind == kind; };
  if (plays("wrong-etag") || plays("ignore-if-range") || plays("changed")) held = changed(held);
  const std::uint64_t size = blob->size();
  const std::string* range = request.header("Range");
  const std::string* condition = request.header("If-Range");
  // A weak ETag is equal to none.
  const bool same = !condition || plays("ignore-if-range") || *condition == held.modified ||
                    (*condition == held.etag && !held.etag.starts_with("W/"));
  std::optional<Span> span;
  if (range && same && !plays("ignore-range") && !plays("no-ranges")) span = wanted_range(*range, size);

  Answer answer;
  if (plays("refused-range") || (span && span->last < span->first)) {
    answer = text_answer(416, "Range not satisfiable");
    return answer.with("Content-Range", fmt::format("bytes */{}", size));
  }
  answer.with("Content-Type", "application/octet-stream");
  answer.with("Accept-Ranges", plays("no-ranges") ? "none" : "bytes");
  if (!held.etag.empty()) answer.with("ETag", held.etag);
  if (!held.modified.empty()) answer.with("Last-Modified", held.modified);
  answer.content = std::move(blob);
  answer.length = size;
  if (span) {
    answer.status = 206;
    answer.offset = span->first;
    answer.length = span->last - span->first + 1;
    if (plays("short-range")) answer.length = (answer.length + 1) / 2;
    const std::uint64_t shift = plays("wrong-range") ? 1 : 0;
    answer.with("Content-Range",
                fmt::format("bytes {}-{}/{}", answer.offset + shift,
                            answer.offset + answer.length - 1 + shift, size + (plays("wrong-size") ? 1 : 0)));
  }
  if (plays("changed")) answer.spoil = [](std::uint64_t, std::span<std::byte> bytes) { flip(bytes); };
  if (plays("corrupt")) {
    answer.spoil = [middle = answer.offset + answer.length / 2](std::uint64_t at,
                                                                std::span<std::byte> bytes) {
      if (middle >= at && middle - at < bytes.size()) flip(bytes.subspan(middle - at, 1));
    };
  }
  return answer;
}

}  // namespace hub
