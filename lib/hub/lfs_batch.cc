// SPDX-License-Identifier: Apache-2.0
#include "hub/lfs_batch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <ctime>
#include <unordered_map>

#include "base/decimal.h"
#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

Error unexpected(std::string_view why) {
  return Error(ErrorKind::kRemote, fmt::format("cannot store files: unexpected answer ({})", why));
}

// When the links of an action expire: the action says it, or the signature of its first link.
double expiry_of(const JsonValue& action, std::string_view link, double now) {
  if (const std::optional<std::uint64_t> seconds = action.find_u64("expires_in");
      seconds && *seconds < (1U << 30))
    return now + static_cast<double>(*seconds);
  if (const std::string* text = action.find_string("expires_at")) {
    std::tm when{};
    if (::strptime(text->c_str(), "%Y-%m-%dT%H:%M:%S", &when) != nullptr)
      return static_cast<double>(::timegm(&when));
  }
  constexpr std::string_view kKey = "X-Amz-Expires=";
  const std::size_t at = link.find(kKey);
  if (at == std::string_view::npos) return 0;
  const std::string_view rest = link.substr(at + kKey.size());
  const std::optional<std::uint64_t> seconds = parse_decimal(rest.substr(0, rest.find('&')));
  return seconds && *seconds < (1U << 30) ? now + static_cast<double>(*seconds) : 0;
}

std::optional<std::uint64_t> chunk_size_of(const JsonValue& header) {
  const JsonValue* value = header.find("chunk_size");
  if (value == nullptr) return std::nullopt;
  const std::string* text = value->as_string();
  const std::optional<std::uint64_t> size = text == nullptr ? value->as_u64() : parse_decimal(*text);
  if (!size || *size == 0) throw unexpected("chunk_size is not a number");
  return size;
}

void read_pieces(LfsUpload& upload, const JsonValue& header) {
  const std::uint64_t count = (upload.size + upload.chunk_size - 1) / upload.chunk_size;
  if (count > 1'000'000) throw unexpected("too many pieces");
  upload.pieces.resize(static_cast<std::size_t>(count));
  for (const JsonValue::Member& member : header.members()) {
    if (!is_digits(member.key)) continue;
    const std::optional<std::uint64_t> piece = parse_decimal(member.key);
    const std::string* url = member.value.as_string();
    if (!piece || *piece < 1 || *piece > count || url == nullptr)
      throw unexpected("a piece is not one of 1 to N");
    upload.pieces[static_cast<std::size_t>(*piece - 1)] = *url;
  }
  if (std::any_of(upload.pieces.begin(), upload.pieces.end(),
                  [](const std::string& url) { return url.empty(); }))
    throw unexpected("a piece has no link");
}

// Headers that are the sender's to make, whatever a hub says: where a request goes, and how its body is
// framed (RFC 9110 7.6.1: hop by hop).
bool is_ours(std::string_view name) {
  constexpr std::string_view kNames[] = {"host",    "content-length", "transfer-encoding", "connection",
                                         "expect",  "keep-alive",     "upgrade",           "te",
                                         "trailer", "trailers",       "user-agent"};
  const std::string small = lower_ascii(name);
  return small.starts_with("proxy-") ||
         std::find(std::begin(kNames), std::end(kNames), small) != std::end(kNames);
}

// RFC 9110 5.6.2.
bool is_header_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
  });
}

// Values are never shown: they may be keys.
std::vector<HttpHeader> headers_of(const JsonValue* object) {
  std::vector<HttpHeader> headers;
  if (object == nullptr) return headers;
  for (const JsonValue::Member& member : object->members()) {
    const std::string* text = member.value.as_string();
    const bool about_pieces =
        member.key == "chunk_size" || member.key == "upload_id" || is_digits(member.key);
    if (text == nullptr || about_pieces || is_ours(member.key)) continue;
    if (!is_header_name(member.key)) throw unexpected("a header's name is not valid");
    if (std::any_of(text->begin(), text->end(), [](unsigned char c) { return c < ' ' || c == 0x7F; }))
      throw unexpected("a header contains a line break or control character");
    headers.push_back({member.key, *text});
  }
  return headers;
}

LfsUpload read_object(const JsonValue& object, const LfsObject& asked, double now) {
  LfsUpload upload;
  upload.oid = asked.oid;
  upload.size = asked.size;
  const JsonValue* actions = object.find("actions");
  const JsonValue* action = actions == nullptr ? nullptr : actions->find("upload");
  if (action == nullptr || !action->is_object()) return upload;  // it is there
  const std::string* href = action->find_string("href");
  if (href == nullptr || href->empty()) throw unexpected("an upload has no href");
  upload.href = *href;
  const JsonValue* header = action->find("header");
  upload.headers = headers_of(header);
  if (header != nullptr) {
    if (const std::optional<std::uint64_t> size = chunk_size_of(*header)) {
      upload.chunk_size = *size;
      read_pieces(upload, *header);
    }
  }
  upload.expires = expiry_of(*action, upload.pieces.empty() ? upload.href : upload.pieces.front(), now);
  if (const JsonValue* verify = actions->find("verify")) {
    if (const std::string* url = verify->find_string("href")) upload.verify_href = *url;
    upload.verify_headers = headers_of(verify->find("header"));
  }
  return upload;
}

}  // namespace

std::vector<LfsUpload> parse_batch(const JsonValue& answer, const std::vector<LfsObject>& asked, double now) {
  const JsonValue* list = answer.find("objects");
  if (list == nullptr || !list->is_array()) throw unexpected("it has no objects");
  std::unordered_map<std::string_view, const JsonValue*> by_oid;
  for (const JsonValue& object : list->items()) {
    const std::string* oid = object.find_string("oid");
    if (oid == nullptr) throw unexpected("an object has no oid");
    by_oid[*oid] = &object;
  }
  std::vector<LfsUpload> uploads;
  std::vector<std::string> refused;
  for (const LfsObject& object : asked) {
    const auto found = by_oid.find(object.oid);
    if (found == by_oid.end()) throw unexpected("an object is missing");
    if (const JsonValue* error = found->second->find("error"); error != nullptr && error->is_object()) {
      const std::string* message = error->find_string("message");
      refused.push_back(
          fmt::format("{} ({})", escape_name(object.file == nullptr ? object.oid : object.file->name),
                      message == nullptr ? "no reason given" : shorten(escape_name(*message), 300)));
      continue;
    }
    uploads.push_back(read_object(*found->second, object, now));
  }
  if (!refused.empty()) {
    const std::size_t count = refused.size();
    refused.resize(std::min<std::size_t>(count, 5));
    throw Error(ErrorKind::kRemote,
                fmt::format("the hub refuses {}: {}", plural(count, "object"), join(refused, "; ")));
  }
  return uploads;
}

}  // namespace mu
