// SPDX-License-Identifier: Apache-2.0
#include "log.h"

#include <fcntl.h>

#include <cerrno>

#include "base/error.h"
#include "base/json_write.h"
#include "codec.h"

namespace hub {

void Log::open(const std::string& file) {
  file_ = mu::Fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (file_.get() < 0) throw mu::io_error("open the log", errno, file);
}

void Log::add(const Request& request, const LogEntry& entry) {
  const std::lock_guard lock(mutex_);
  std::string line;
  mu::JsonWriter json(line, 0);
  json.begin_object().member("n", next_++).member("port", entry.port).member("route", entry.route);
  json.member("method", request.method).member("target", request.target).member("status", entry.status);
  json.member("repo", entry.repo).member("fault", entry.fault).member("leak", entry.leak);
  // The token itself never reaches a file: its hash tells one from another.
  json.key("authorization");
  if (const std::string* value = request.header("Authorization")) {
    json.value(sha256_hex(*value).substr(0, 16));
  } else {
    json.null();
  }
  for (const auto& [key, name] : {std::pair{"content_length", "Content-Length"},
                                  {"content_type", "Content-Type"},
                                  {"accept", "Accept"},
                                  {"accept_encoding", "Accept-Encoding"},
                                  {"transfer_encoding", "Transfer-Encoding"},
                                  {"range", "Range"},
                                  {"if_range", "If-Range"},
                                  {"expect", "Expect"},
                                  {"user_agent", "User-Agent"},
                                  {"x_request_id", "X-Request-Id"}}) {
    json.key(key);
    if (const std::string* value = request.header(name)) {
      json.value(*value);
    } else {
      json.null();
    }
  }
  json.member("body_bytes", request.body_bytes).member("answer_bytes", entry.answer_bytes);
  json.member("in_flight", entry.in_flight);
  json.member("begin_ms", entry.begin_ms).member("end_ms", entry.end_ms);
  json.member("connection", request.wire ? request.wire->id() : 0).member("request_id", entry.request_id);
  json.end_object();
  if (file_.get() >= 0) mu::write_stream(file_.get(), line + "\n", "log");
  line.pop_back();
  lines_.push_back({std::move(line), request.wire ? request.wire->sent() : nullptr});
}

std::string Log::json() {
  const std::lock_guard lock(mutex_);
  std::string out = "[";
  for (const Line& line : lines_) {
    out += (out.size() > 1 ? ",\n" : "") + line.text;
    out += ",\"sent_bytes\":" + std::to_string(line.sent ? line.sent->load() : 0) + "}";
  }
  return out + "]\n";
}

void Log::clear() {
  const std::lock_guard lock(mutex_);
  lines_.clear();
  next_ = 1;
}

}  // namespace hub
