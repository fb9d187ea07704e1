// SPDX-License-Identifier: Apache-2.0
// Git LFS: the batch call, completion of uploads in parts, verification.
#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <set>

#include "base/error.h"
#include "base/json_write.h"
#include "base/text.h"
#include "routes.h"

namespace hub {

namespace {

constexpr std::string_view kLfsType = "application/vnd.git-lfs+json";

Answer lfs_answer(std::string body) {
  Answer answer = json_answer(std::move(body));
  answer.replace("Content-Type", std::string(kLfsType) + "; charset=utf-8");
  return answer;
}

Refusal lfs_refusal(const Call& call, int status, const std::string& message) {
  Refusal refusal = call.refuse(status, message);
  refusal.answer.body.clear();
  mu::JsonWriter(refusal.answer.body, 0).begin_object().member("message", message).end_object();
  return refusal;
}

void need_lfs_types(const Call& call) {
  const std::string* accept = call.request.header("Accept");
  const std::string* type = call.request.header("Content-Type");
  if (!accept || accept->find(kLfsType) == std::string::npos)
    throw lfs_refusal(call, 406, fmt::format("Accept must be {}", kLfsType));
  if (!type || !type->starts_with(kLfsType))
    throw lfs_refusal(call, 415, fmt::format("Content-Type must be {}", kLfsType));
}

mu::JsonDocument lfs_json(const Call& call) {
  try {
    mu::JsonDocument document = mu::parse_json(call.request.body);
    if (document.root.is_object()) return document;
  } catch (const mu::Error&) {
    // Said below.
  }
  throw lfs_refusal(call, 400, "the body must be a JSON object");
}

struct Wanted {
  std::string oid;
  std::uint64_t size = 0;
};

void write_error(mu::JsonWriter& json, const Wanted& object, int code, const std::string& message) {
  json.begin_object().member("oid", object.oid).member("size", object.size).key("error").begin_object();
  json.member("code", code).member("message", message).end_object().end_object();
}

std::uint64_t link_life(const Call& call, std::uint64_t usual_seconds) {
  if (call.plays("expired-links")) return 0;
  return call.hub.config.link_seconds ? call.hub.config.link_seconds : usual_seconds;
}

std::string completion_signature(const Hub& hub, const std::string& upload) {
  return sha256_hex(hub.secret + upload).substr(0, 40);
}

void write_multipart(Call& call, mu::JsonWriter& json, const Wanted& object, const std::string& key,
                     std::mt19937_64& shuffler) {
  Hub& hub = call.hub;
  const auto upload = std::make_shared<Upload>();
  upload->prefix = call.repo->prefix;
  upload->oid = object.oid;
  upload->size = object.size;
  upload->chunk_size = hub.config.chunk_size;
  const std::uint64_t parts = (object.size + upload->chunk_size - 1) / upload->chunk_size;
  if (parts > 10'000) throw lfs_refusal(call, 422, "more than 10000 parts");
  upload->etags.resize(parts);
  upload->blob = std::make_shared<Blob>(object.size, hub.config.data, hub.config.discard);
  const std::string id = random_hex(32);
  hub.uploads[id] = upload;

  const bool kohaku = hub.config.kohaku;
  const std::string href =
      kohaku ? fmt::format("{}/api/{}.git/info/lfs/complete/{}", hub.url, call.repo->id, id)
             : fmt::format(
                   "{}/api/complete_multipart?uploadId={}&bucket=test&prefix={}&expiration={}&signature={}",
                   hub.url, id, percent_encode(call.repo->prefix),
                   percent_encode(http_date(now_ms() / 1000 + 86400)), completion_signature(hub, id));
  std::vector<std::uint64_t> order(parts);
  for (std::uint64_t i = 0; i < parts; ++i) order[i] = i + 1;
  std::shuffle(order.begin(), order.end(), shuffler);
  json.member("href", href).key("header").begin_object();
  json.member("chunk_size", std::to_string(upload->chunk_size));
  if (kohaku) json.member("upload_id", id);
  for (const std::uint64_t part : order) {
    json.member(kohaku ? std::to_string(part) : fmt::format("{:05}", part),
                hub.signed_link("PUT", key, fmt::format("partNumber={}&uploadId={}", part, id),
                                link_life(call, 86400)));
  }
  json.end_object();
}

void write_actions(Call& call, mu::JsonWriter& json, const Wanted& object, bool in_parts,
                   std::mt19937_64& shuffler) {
  Hub& hub = call.hub;
  const std::string key = call.repo->prefix + "/" + object.oid;
  json.key("actions").begin_object().key("upload").begin_object();
  if (call.plays("upload-header")) {
    const std::string& line = call.fault->message;
    const std::size_t colon = line.find(':');
    json.key("header").begin_object().member(line.substr(0, colon), line.substr(colon + 1)).end_object();
  }
  if (call.plays("upload-link")) {
    json.member("href", call.fault->location);
  } else if (in_parts) {
    write_multipart(call, json, object, key, shuffler);
  } else {
    json.member("href",
                hub.signed_link("PUT", key, fmt::format("size={}", object.size), link_life(call, 900)));
  }
  json.end_object();
  if (hub.config.verify_action) {
    json.key("verify").begin_object();
    json.member("href", fmt::format("{}/{}{}.git/info/lfs/objects/verify", hub.url, call.repo->web_prefix(),
                                    call.repo->id));
    json.end_object();
  }
  json.end_object();
}

std::vector<Wanted> wanted_objects(Call& call, const mu::JsonValue& body) {
  const mu::JsonValue* objects = body.find("objects");
  if (!objects || !objects->is_array() || objects->items().empty())
    throw lfs_refusal(call, 422, "\"objects\" must be a list");
  if (objects->items().size() > 256) throw lfs_refusal(call, 413, "Too many objects, 256 at most");
  std::vector<Wanted> wanted;
  std::set<std::string> seen;
  for (const mu::JsonValue& item : objects->items()) {
    const std::string* oid = item.find_string("oid");
    const auto size = item.find_u64("size");
    if (!oid || !size) throw lfs_refusal(call, 422, "objects need an oid and a size");
    if (seen.insert(*oid).second) wanted.push_back({*oid, *size});
  }
  return wanted;
}

bool offers(const mu::JsonValue& body, std::string_view transfer) {
  const mu::JsonValue* transfers = body.find("transfers");
  if (!transfers || !transfers->is_array()) return transfer == "basic";
  return std::any_of(transfers->items().begin(), transfers->items().end(), [&](const mu::JsonValue& item) {
    return item.as_string() && *item.as_string() == transfer;
  });
}

}  // namespace

Answer lfs_batch(Call& call) {
  if (!call.caller) {
    Refusal refusal = lfs_refusal(call, 401, "Credentials needed");
    refusal.answer.with("LFS-Authenticate", "Basic realm=\"Git LFS\"");
    throw refusal;
  }
  need_lfs_types(call);
  const mu::JsonDocument document = lfs_json(call);
  const mu::JsonValue& body = document.root;
  const std::string* operation = body.find_string("operation");
  if (!operation || *operation != "upload") throw lfs_refusal(call, 422, "operation must be \"upload\"");
  const std::string* hash = body.find_string("hash_algo");
  if (hash && *hash != "sha256" && *hash != "sha_256")
    throw lfs_refusal(call, 409, "hash_algo must be \"sha256\"");
  // Who may only open pull requests may store objects, but not for a branch.
  if (!call.may_write() && (call.caller->role == "read" || body.find("ref")))
    throw lfs_refusal(call, 403, "You have no right to write to this reference");

  std::vector<Wanted> objects = wanted_objects(call, body);
  std::mt19937_64 shuffler{std::random_device{}()};
  std::shuffle(objects.begin(), objects.end(), shuffler);
  if (call.plays("lfs-missing")) objects.pop_back();
  if (call.plays("lfs-unasked")) objects.push_back({std::string(64, 'f'), 1});
  const bool multipart = offers(body, "multipart");
  bool any_parts = false, first = true;
  std::string text;
  mu::JsonWriter json(text, 0);
  json.begin_object().key("objects").begin_array();
  for (const Wanted& object : objects) {
    if (!is_lower_hex(object.oid, 64)) {
      write_error(json, object, 422, "invalid oid");
      continue;
    }
    if (std::exchange(first, false) && call.plays("lfs-error")) {
      write_error(json, object, call.fault->status ? call.fault->status : 422,
                  call.fault->message.empty() ? "this object is not welcome" : call.fault->message);
      continue;
    }
    const auto known = call.hub.objects(*call.repo).find(object.oid);
    const bool is_known = known != call.hub.objects(*call.repo).end();
    if (is_known && known->second->size() != object.size) {
      write_error(json, object, 422, "the object is known with another size");
      continue;
    }
    if (object.size == 0) {
      write_error(json, object, 422, "an object can't be empty");
      continue;
    }
    json.begin_object().member("oid", object.oid).member("size", object.size).member("authenticated", true);
    if (!is_known) {
      const bool in_parts = multipart && object.size > call.hub.config.multipart_threshold;
      any_parts |= in_parts;
      write_actions(call, json, object, in_parts, shuffler);
    }
    json.end_object();
  }
  json.end_array().member("transfer", any_parts && !call.hub.config.kohaku ? "multipart" : "basic");
  json.member("hash_algo", "sha256").member("servedBy", "test").end_object();
  return lfs_answer(text);
}

Answer lfs_verify(Call& call) {
  call.someone();
  const mu::JsonDocument document = lfs_json(call);
  const std::string* oid = document.root.find_string("oid");
  const auto size = document.root.find_u64("size");
  if (!oid || !size) throw lfs_refusal(call, 422, "oid and size are needed");
  const auto at = call.hub.objects(*call.repo).find(*oid);
  if (at == call.hub.objects(*call.repo).end()) throw lfs_refusal(call, 404, "Object not found");
  if (at->second->size() != *size) throw lfs_refusal(call, 400, "The size is another");
  return lfs_answer("{}");
}

Answer lfs_complete(Call& call) {
  Hub& hub = call.hub;
  if (call.request.header("Authorization"))
    throw lfs_refusal(call, 400, "Authorization does not belong here");
  const std::string id = call.rest.empty() ? query_value(call.query, "uploadId") : call.rest[0];
  if (call.rest.empty() && query_value(call.query, "signature") != completion_signature(hub, id))
    throw lfs_refusal(call, 403, "Invalid signature");
  need_lfs_types(call);
  const auto at = hub.uploads.find(id);
  if (at == hub.uploads.end()) throw lfs_refusal(call, 404, "The specified upload does not exist");
  const std::shared_ptr<Upload> upload = at->second;
  const mu::JsonDocument document = lfs_json(call);
  const std::string* oid = document.root.find_string("oid");
  if (!oid || *oid != upload->oid) throw lfs_refusal(call, 400, "The oid is not that of the upload");
  const mu::JsonValue* parts = document.root.find("parts");
  if (!parts || !parts->is_array() || parts->items().size() != upload->etags.size())
    throw lfs_refusal(call, 400, fmt::format("parts must be a list of {}", upload->etags.size()));
  for (std::size_t i = 0; i < upload->etags.size(); ++i) {
    const std::string* etag = parts->items()[i].find_string("etag");
    if (parts->items()[i].find_u64("partNumber") != i + 1 || !etag)
      throw lfs_refusal(call, 400, "parts must ascend from 1 and have an etag");
    if (upload->etags[i].empty() || *etag != upload->etags[i])
      throw lfs_refusal(call, 400,
                        fmt::format("InvalidPart: part {} was not stored with the etag {}", i + 1, *etag));
  }
  {
    const std::unique_lock lock(upload->mutex);
    upload->closed = true;
  }
  hub.uploads.erase(id);
  call.lock.unlock();  // a large object takes seconds
  const bool whole = hub.config.discard || upload->blob->sha256() == upload->oid;
  call.lock.lock();
  if (!whole) throw lfs_refusal(call, 400, "BadDigest: the SHA-256 of the parts is not the oid");
  Repo* repo = hub.repo_of_prefix(upload->prefix);
  if (!repo) throw lfs_refusal(call, 404, "The repository has gone");
  hub.objects(*repo)[upload->oid] = upload->blob;
  return lfs_answer("{}");
}

}  // namespace hub
