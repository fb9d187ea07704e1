// SPDX-License-Identifier: Apache-2.0
#include "hub/journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>

#include "base/bytes.h"
#include "base/error.h"
#include "base/json.h"
#include "base/json_write.h"
#include "base/text.h"
#include "hash/sha256.h"
#include "os/folder.h"

namespace mu {
namespace {

constexpr std::uint64_t kMaxJournal = 1ULL << 30;  // bytes
constexpr double kLeastLife = 60;                  // seconds

void write_headers(JsonWriter& json, std::string_view key, const std::vector<HttpHeader>& headers) {
  json.key(key).begin_object();
  for (const HttpHeader& header : headers) json.member(header.name, header.value);
  json.end_object();
}

std::vector<HttpHeader> read_headers(const JsonValue* object) {
  std::vector<HttpHeader> headers;
  if (object == nullptr) return headers;
  for (const JsonValue::Member& member : object->members()) {
    if (const std::string* text = member.value.as_string()) headers.push_back({member.key, *text});
  }
  return headers;
}

std::string text_of(const JsonValue& line, std::string_view key) {
  const std::string* text = line.find_string(key);
  return text == nullptr ? "" : *text;
}

LfsUpload read_upload(const JsonValue& line) {
  LfsUpload upload;
  upload.oid = text_of(line, "begin");
  upload.size = line.find_u64("size").value_or(0);
  upload.chunk_size = line.find_u64("chunk_size").value_or(0);
  upload.href = text_of(line, "href");
  upload.headers = read_headers(line.find("headers"));
  upload.verify_href = text_of(line, "verify_href");
  upload.verify_headers = read_headers(line.find("verify_headers"));
  const JsonValue* expires = line.find("expires");
  if (expires != nullptr) upload.expires = expires->as_double().value_or(0);
  if (const JsonValue* pieces = line.find("parts")) {
    for (const JsonValue& piece : pieces->items()) {
      if (const std::string* url = piece.as_string()) upload.pieces.push_back(*url);
    }
  }
  return upload;
}

}  // namespace

std::string journal_path(const std::string& state, const std::string& endpoint, const Repo& repo,
                         const std::string& revision, const std::string& prefix) {
  if (state.empty()) return "";
  Sha256 key;
  key.update(as_bytes(
      fmt::format("{}\n{}\n{}\n{}\n{}", endpoint, repo_type_name(repo.type), repo.id, revision, prefix)));
  const std::string name = to_hex(key.finish()).substr(0, 32);
  return join_path(join_path(join_path(state, "hub-push"), name), "journal");
}

Journal::Journal(const std::string& path) : path_(path) {
  if (path.empty()) {
    fault_ = "there is no place for it: neither HOME nor XDG_STATE_HOME is set";
    return;
  }
  try {
    make_private_folder(parent_of(path));
    lock_.emplace(path + ".lock");
    if (is_in_reach(path)) read(read_whole_file(path, kMaxJournal));
    fd_ = Fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (fd_.get() < 0) throw io_error("open", errno, escape_name(path));
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kTemporary)
      throw Error(ErrorKind::kTemporary, "another push to the same place is running")
          .hint("wait until it ends");
    fault_ = error.what();
  }
}

void Journal::read(std::string_view text) {
  for (const std::string_view raw : split(text, '\n')) {
    if (trim(raw).empty()) continue;
    JsonDocument document;
    try {
      document = parse_json(raw);
    } catch (const Error&) {
      continue;  // the last line of a push that was killed
    }
    const JsonValue& line = document.root;
    if (line.find("begin") != nullptr) {
      LfsUpload upload = read_upload(line);
      saved_[upload.oid] = {upload, {}};
    } else if (const std::string* oid = line.find_string("part_of")) {
      const auto found = saved_.find(*oid);
      const std::optional<std::uint64_t> piece = line.find_u64("part");
      if (found != saved_.end() && piece && *piece < found->second.upload.pieces.size())
        found->second.etags[static_cast<std::size_t>(*piece)] = text_of(line, "etag");
    } else if (const std::string* gone = line.find_string("forget")) {
      saved_.erase(*gone);
    }
  }
}

std::optional<Journal::Saved> Journal::find(const std::string& oid, double now) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = saved_.find(oid);
  if (found == saved_.end() || found->second.upload.expires < now + kLeastLife) return std::nullopt;
  const LfsUpload& upload = found->second.upload;
  const bool sound = upload.chunk_size > 0 && !upload.href.empty() &&
                     upload.pieces.size() == (upload.size + upload.chunk_size - 1) / upload.chunk_size;
  return sound ? std::optional(found->second) : std::nullopt;
}

void Journal::begin(const LfsUpload& upload) {
  std::string line;
  JsonWriter json(line, 0);
  json.begin_object()
      .member("begin", upload.oid)
      .member("size", upload.size)
      .member("chunk_size", upload.chunk_size);
  json.member("href", upload.href);
  write_headers(json, "headers", upload.headers);
  json.member("verify_href", upload.verify_href);
  write_headers(json, "verify_headers", upload.verify_headers);
  json.member("expires", std::llround(upload.expires)).key("parts").begin_array();
  for (const std::string& piece : upload.pieces) json.value(piece);
  json.end_array().end_object();
  const std::lock_guard<std::mutex> lock(mutex_);
  saved_[upload.oid] = {upload, {}};
  append(line);
}

void Journal::add_piece(const std::string& oid, std::size_t piece, const std::string& etag) {
  std::string line;
  JsonWriter(line, 0)
      .begin_object()
      .member("part_of", oid)
      .member("part", piece)
      .member("etag", etag)
      .end_object();
  const std::lock_guard<std::mutex> lock(mutex_);
  saved_[oid].etags[piece] = etag;
  append(line);
}

void Journal::forget(const std::string& oid) {
  std::string line;
  JsonWriter(line, 0).begin_object().member("forget", oid).end_object();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (saved_.erase(oid) > 0) append(line);
}

void Journal::append(const std::string& line) {
  if (fd_.get() < 0) return;
  const std::string whole = line + "\n";
  const ssize_t written = ::write(fd_.get(), whole.data(), whole.size());
  if (written == static_cast<ssize_t>(whole.size()) && ::fdatasync(fd_.get()) == 0) return;
  fault_ = io_error("write", written < 0 ? errno : ENOSPC, escape_name(path_)).what();
  fd_.reset();
}

void Journal::remove() {
  const std::lock_guard<std::mutex> lock(mutex_);
  fd_.reset();
  if (path_.empty()) return;
  if (::unlink(path_.c_str()) != 0 && errno != ENOENT)
    fault_ = io_error("remove", errno, escape_name(path_)).what();
}

std::string Journal::fault() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return fault_;
}

}  // namespace mu
