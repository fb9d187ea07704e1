// SPDX-License-Identifier: Apache-2.0
// Object storage, as S3 behaves behind signed links.
#include <fmt/format.h>

#include "hash/sha256.h"
#include "routes.h"

namespace hub {

namespace {

Refusal refusal(int status, const char* code, const std::string& message) {
  return {xml_error(status, code, message)};
}

// Receives `size` bytes to `offset` of the blob. Returns the ETag; `sha256` may be null.
std::string receive(Request& request, Blob& blob, std::uint64_t offset, std::uint64_t size, bool hash,
                    mu::Sha256* sha256, Upload* upload) {
  Md5 md5;
  std::uint64_t at = 0;
  const bool whole = request.read([&](std::span<const std::byte> data) {
    if (at + data.size() > size) return false;
    std::shared_lock<std::shared_mutex> lock;
    if (upload) {
      lock = std::shared_lock(upload->mutex);
      if (upload->closed) return false;  // a late copy of a part must not change a finished object
    }
    blob.write_at(offset + at, data);
    lock = {};
    if (hash) md5.update(data);
    if (sha256) sha256->update(data);
    at += data.size();
    return true;
  });
  if (!whole || at != size)
    throw refusal(400, "IncompleteBody", fmt::format("{} bytes came of {} that were announced", at, size));
  return '"' + (hash ? md5.finish_hex() : random_hex(32)) + '"';
}

// Later for each object that is made.
std::string date_of(const Blob& blob) {
  return http_date(1'700'000'000 + blob.number());
}

Answer stored(const std::string& etag) {
  Answer answer;
  return answer.with("ETag", etag);
}

Answer put_part(Hub& hub, Request& request, const Query& query, std::uint64_t size, bool corrupt) {
  std::shared_ptr<Upload> upload;
  {
    const std::lock_guard lock(hub.mutex);
    const auto at = hub.uploads.find(query_value(query, "uploadId"));
    if (at == hub.uploads.end())
      throw refusal(404, "NoSuchUpload", "The specified multipart upload does not exist");
    upload = at->second;
  }
  const std::uint64_t number = std::stoull("0" + query_value(query, "partNumber"));
  if (number == 0 || number > upload->etags.size()) throw refusal(400, "InvalidArgument", "no such part");
  const std::uint64_t offset = (number - 1) * upload->chunk_size;
  const std::uint64_t expected = std::min(upload->chunk_size, upload->size - offset);
  if (size != expected) {
    throw refusal(400, size < expected ? "EntityTooSmall" : "EntityTooLarge",
                  fmt::format("part {} must have {} bytes, not {}", number, expected, size));
  }
  const std::string etag =
      receive(request, *upload->blob, offset, size, !hub.config.discard, nullptr, upload.get());
  if (corrupt) {
    std::byte first{};
    upload->blob->read_at(offset, {&first, 1});
    first ^= std::byte{1};
    upload->blob->write_at(offset, {&first, 1});
  }
  const std::lock_guard lock(hub.mutex);
  upload->etags[number - 1] = etag;
  return stored(etag);
}

}  // namespace

Answer storage_put(Hub& hub, Request& request, const std::string& path, const Query& query,
                   const std::optional<Fault>& fault) {
  const std::optional<std::uint64_t> size = request.content_length();
  if (request.is_chunked()) throw refusal(501, "NotImplemented", "Transfer-Encoding is not supported");
  if (!size) throw refusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header");
  if (*size == 0) throw refusal(501, "NotImplemented", "An empty body is not supported");
  const bool corrupt = fault && fault->kind == "corrupt";
  if (query.contains("uploadId")) return put_part(hub, request, query, *size, corrupt);

  if (std::to_string(*size) != query_value(query, "size"))
    throw refusal(400, "InvalidRequest", "the size is not the one the link was made for");
  const std::string oid = path.substr(path.rfind('/') + 1);
  const auto blob = std::make_shared<Blob>(*size, hub.config.data, hub.config.discard);
  mu::Sha256 sha256;
  const bool hash = !hub.config.discard;
  const std::string etag = receive(request, *blob, 0, *size, hash, hash ? &sha256 : nullptr, nullptr);
  if (corrupt || (hash && mu::to_hex(sha256.finish()) != oid))
    throw refusal(400, "BadDigest", "The SHA-256 of the body is not the one the link was made for");
  const std::lock_guard lock(hub.mutex);
  Repo* repo = hub.repo_of_prefix(path.substr(0, path.rfind('/')));
  if (!repo) throw refusal(404, "NoSuchBucket", "the repository has gone");
  hub.objects(*repo)[oid] = blob;
  return stored(etag);
}

Answer storage_get(Hub& hub, Request& request, const std::string& path, const Query& query,
                   const std::optional<Fault>& fault) {
  BlobPointer blob;
  {
    const std::lock_guard lock(hub.mutex);
    Repo* repo = hub.repo_of_prefix(path.substr(0, path.rfind('/')));
    if (repo) {
      const auto at = hub.objects(*repo).find(path.substr(path.rfind('/') + 1));
      if (at != hub.objects(*repo).end()) blob = at->second;
    }
  }
  if (!blob) throw refusal(404, "NoSuchKey", "The specified key does not exist");
  // An object that came in the place of another has another number, so another ETag and date.
  std::string held = fmt::format("{}/{}", path, blob->number());
  if (hub.config.link_etags) held += query_value(query, "x-id");
  Answer answer =
      content_answer(request, blob, {'"' + sha256_hex(held).substr(0, 32) + '"', date_of(*blob)}, fault);
  const std::string name = query_value(query, "response-content-disposition");
  if (!name.empty()) answer.with("Content-Disposition", name);
  return answer;
}

Answer put_plain(Hub& hub, Request& request, const std::string& name, const Query& query) {
  const auto blob = std::make_shared<Blob>(request.content_length().value_or(0), hub.config.data, false);
  const std::string etag = receive(request, *blob, 0, blob->size(), true, nullptr, nullptr);
  const std::string how = query_value(query, "etag");
  PlainFile file{blob,
                 how == "none"   ? ""
                 : how == "weak" ? "W/" + etag
                                 : etag,
                 query_value(query, "modified") == "none" ? "" : date_of(*blob),
                 query_value(query, "ranges")};
  const std::lock_guard lock(hub.mutex);
  hub.plain_files[name] = std::move(file);
  return {};
}

Answer get_plain(Hub& hub, Request& request, const std::string& name, std::optional<Fault> fault) {
  PlainFile file;
  {
    const std::lock_guard lock(hub.mutex);
    const auto at = hub.plain_files.find(name);
    if (at == hub.plain_files.end()) return text_answer(404, "Not Found");
    file = at->second;
  }
  if (!fault && !file.ranges.empty()) {
    fault = Fault();
    fault->kind = file.ranges == "none" ? "no-ranges" : "ignore-range";
  }
  return content_answer(request, file.blob, {file.etag, file.modified}, fault);
}

}  // namespace hub
