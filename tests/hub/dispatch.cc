// SPDX-License-Identifier: Apache-2.0
// Around every handler: the log, leaked tokens, faults, quotas, and the headers the Hub puts on all answers.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "base/error.h"
#include "base/text.h"
#include "routes.h"

namespace hub {

namespace {

// True when a token of ours stands where it must not: in the target, in a header other than Authorization,
// and in storage anywhere.
bool leaks_token(Hub& hub, const Request& request, bool storage) {
  const std::lock_guard lock(hub.mutex);
  for (const auto& [token, account] : hub.tokens) {
    if (request.target.find(token) != std::string::npos) return true;
    for (const auto& [name, value] : request.headers)
      if ((storage || lower(name) != "authorization") && value.find(token) != std::string::npos) return true;
  }
  return false;
}

std::string status_page(int status) {
  return fmt::format("<!doctype html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>",
                     status);
}

Answer status_answer(const Hub& hub, const Fault& fault) {
  const int status = fault.status ? fault.status : 500;
  // What stands before the Hub answers in HTML.
  if (status >= 502 && status <= 504 && fault.message.empty()) {
    Answer answer;
    answer.status = status;
    answer.body = status_page(status);
    return answer.with("Content-Type", "text/html; charset=utf-8");
  }
  const std::string message =
      fault.message.empty() ? fmt::format("Something went wrong ({})", status) : fault.message;
  return error_answer(hub.config.kohaku, status, message, fault.code);
}

Answer limit_answer(const Hub& hub, const Fault& fault) {
  const std::uint64_t seconds = fault.seconds > 0 ? static_cast<std::uint64_t>(fault.seconds) : 1;
  const bool by_commits = fault.kind == "commit-quota";
  std::string message =
      by_commits ? "You have exceeded the rate limit for repository commits (128 per hour). You can "
                   "retry this action in about 1 hour."
                 : "We had to rate limit you. Please slow down.";
  if (!fault.message.empty()) message = fault.message;
  Answer answer = error_answer(hub.config.kohaku, 429, message);
  if (fault.kind == "retry-after") answer.with("Retry-After", std::to_string(seconds));
  if (fault.kind == "retry-date") answer.with("Retry-After", http_date(now_ms() / 1000 + seconds + 1));
  const int left = fault.kind == "rate-limit" ? 0 : 500;
  answer.with("RateLimit",
              fmt::format("\"api\";r={};t={}", left, fault.kind == "rate-limit" ? seconds : 100));
  return answer;
}

std::chrono::milliseconds wait_of(const Fault& fault) {
  return std::chrono::milliseconds(fault.seconds > 0 ? static_cast<long>(fault.seconds * 1000) : 3'600'000);
}

// Faults that answer in place of the handler, or nothing.
std::optional<Answer> answer_instead(const Hub& hub, const Request& request, const Fault& fault) {
  if (fault.kind == "status") return status_answer(hub, fault);
  if (fault.kind == "rate-limit" || fault.kind == "retry-after" || fault.kind == "retry-date" ||
      fault.kind == "commit-quota")
    return limit_answer(hub, fault);
  if (fault.kind == "expired") return xml_error(403, "AccessDenied", "Request has expired");
  if (fault.kind == "redirect-loop" || fault.kind == "redirect") {
    std::string to = request.target;  // a loop
    if (fault.kind == "redirect")
      to = fault.location.empty() ? hub.storage_url + request.target : fault.location;
    Answer answer = text_answer(fault.status ? fault.status : 307, "Redirecting to " + to);
    return answer.with("Location", to);
  }
  return std::nullopt;
}

// Faults of the wire that come before the handler.
void spoil_wire(Hub& hub, Request& request, const Fault& fault) {
  if (fault.kind == "cut") request.wire->cut_request_after(fault.bytes.value_or(0));
  if (fault.kind == "slow") request.wire->read_slowly(fault.bytes.value_or(1024));
  if (fault.kind == "slow-answer") request.wire->write_slowly(fault.bytes.value_or(1024));
  if (fault.kind == "stall") hub.stalls.hold(*request.wire, wait_of(fault));
}

// JSON that costs its reader many times its own size.
std::string big_json(std::uint64_t bytes) {
  std::string body = "[";
  while (body.size() < bytes) body += "{},";
  return body + "0]";
}

// Faults that spoil what the handler answered.
void spoil_answer(Hub& hub, Request& request, const Fault& fault, Answer& answer) {
  Wire& wire = *request.wire;
  if (fault.kind == "status-after") answer = status_answer(hub, fault);
  if (fault.kind == "reset-after") wire.reset();
  if (fault.kind == "stall-after") hub.stalls.hold(wire, wait_of(fault));
  const std::uint64_t part = fault.bytes.value_or((answer.content ? answer.length : answer.body.size()) / 2);
  if (fault.kind == "truncate") wire.after_answer_bytes(part, [&wire] { wire.close(); });
  if (fault.kind == "reset-answer") wire.after_answer_bytes(part, [&wire] { wire.reset(); });
  if (fault.kind == "stall-answer") {
    wire.after_answer_bytes(part, [&hub, &wire, time = wait_of(fault)] {
      if (!hub.stalls.hold(wire, time)) wire.close();
    });
  }
  if (fault.kind == "garbage") answer.body = "{\"success\": tru\x01 <<<";
  if (fault.kind == "empty") answer.body.clear();
  if (fault.kind == "html") {
    answer.status = 200;
    answer.content = nullptr;
    answer.body = "<!doctype html><html><body>Sign in to this network</body></html>";
    answer.replace("Content-Type", "text/html; charset=utf-8");
  }
  if (fault.kind == "big" || fault.kind == "deep") {
    const std::uint64_t size = fault.bytes.value_or(12'000'000);
    answer.body = fault.kind == "big" ? big_json(size) : std::string(size, '[') + std::string(size, ']');
    answer.status = fault.status ? fault.status : 200;
  }
  if (fault.kind == "same-page" || fault.kind == "endless") {
    static std::atomic<std::uint64_t> pages = 0;
    const std::string more = fault.kind == "endless" ? fmt::format("&page={}", ++pages) : "";
    const std::string target = request.target.substr(0, request.target.find("&page="));
    answer.with("Link", fmt::format("<{}{}{}>; rel=\"next\"", hub.url, target, more));
  }
  if (fault.kind == "encoded") answer.with("Content-Encoding", "gzip");
  if (fault.kind == "wrong-type") answer.replace("Content-Type", "text/html; charset=utf-8");
  if (fault.kind == "warning")
    answer.with("X-HF-Warning", fault.message.empty() ? "deprecation; Old things go away" : fault.message);
  if (fault.kind == "no-etag")
    std::erase_if(answer.headers, [](const auto& header) { return lower(header.first) == "etag"; });
  if (fault.kind == "wrong-etag") answer.replace("ETag", "\"00000000000000000000000000000000\"");
}

// Counts the request against its caller's quota. True: too many. Sets the headers either way.
bool over_quota(Hub& hub, const Request& request, const std::string& bucket, Headers& headers) {
  const std::string* caller = request.header("Authorization");
  const std::lock_guard lock(hub.mutex);
  const std::uint64_t now = now_ms() / 1000, length = hub.config.window_seconds, window = now / length;
  auto& [in_window, count] = hub.used[bucket + (caller ? *caller : "")];
  if (in_window != window) count = 0;
  in_window = window;
  const bool over = count >= hub.config.quota;
  if (!over) ++count;
  headers.emplace_back("RateLimit", fmt::format("\"{}\";r={};t={}", bucket, hub.config.quota - count,
                                                (window + 1) * length - now));
  headers.emplace_back("RateLimit-Policy",
                       fmt::format("\"fixed window\";\"{}\";q={};w={}", bucket, hub.config.quota, length));
  return over;
}

// 504 now, applied some time later: what a timeout of a proxy looks like.
Answer apply_late(Call& call) {
  std::thread([&hub = call.hub, request = call.request, wait = wait_of(*call.fault)]() mutable {
    std::this_thread::sleep_for(wait);
    request.wire = nullptr;
    Call later{hub, request, {}, {}, {}, {}, {}, {}, nullptr, nullptr};
    find_route(later);
    later.lock = std::unique_lock(hub.mutex);
    try {
      run_route(later);
    } catch (const Refusal&) {
      // Nobody waits for this answer.
    }
  }).detach();
  Fault timeout;
  timeout.status = 504;
  return status_answer(call.hub, timeout);
}

bool has_more_lines(const std::string& body, std::uint64_t most) {
  return static_cast<std::uint64_t>(std::count(body.begin(), body.end(), '\n')) > most;
}

Answer handle(Call& call, const std::function<Answer()>& handler) {
  try {
    if (call.plays("late")) return apply_late(call);
    if (call.plays("too-large") && has_more_lines(call.request.body, call.fault->bytes.value_or(100) + 1))
      return status_answer(call.hub, *call.fault);
    return handler();
  } catch (const Refusal& refusal) {
    return refusal.answer;
  } catch (const mu::Error& error) {
    return call.refuse(500, error.what()).answer;
  }
}

// What both ports do around a handler.
Answer serve(Call& call, bool storage, const std::function<Answer()>& handler) {
  Hub& hub = call.hub;
  Request& request = call.request;
  LogEntry entry;
  entry.port = storage ? "storage" : "hub";
  entry.route = call.route;
  entry.repo = call.id.empty() ? "" : call.type + "/" + call.id;
  entry.request_id = "Root=1-" + random_hex(24);
  entry.begin_ms = now_ms();
  entry.leak = leaks_token(hub, request, storage);
  entry.in_flight = request.wire->in_flight();
  call.fault = hub.faults.take(call.route, request.target, call.id);

  Headers common = {{"X-Request-Id", entry.request_id}};
  Answer answer;
  bool whole = true;  // the request arrived
  const std::string bucket = call.route.starts_with("resolve") ? "resolvers" : "api";
  const bool over = !storage && over_quota(hub, request, bucket, common);
  if (call.fault) {
    entry.fault = call.fault->kind;
    spoil_wire(hub, request, *call.fault);
  }
  const std::optional<Answer> instead =
      call.fault ? answer_instead(hub, request, *call.fault) : std::optional<Answer>();
  const bool stream = storage && !instead;
  if (!stream && !(call.fault && call.fault->early)) {
    // What is not kept still has to be read.
    whole = instead ? request.read([](std::span<const std::byte>) { return true; }) : request.read_whole();
  }
  if (entry.leak) {
    const std::string message = "A token was sent where none belongs";
    answer = storage ? xml_error(400, "InvalidArgument", message) : error_answer(false, 400, message);
  } else if (call.fault && call.fault->kind == "reset") {
    request.wire->reset();
    whole = false;
  } else if (instead) {
    answer = *instead;
  } else if (over) {
    answer = error_answer(hub.config.kohaku, 429, "We had to rate limit you. Please slow down.");
  } else if (whole) {
    answer = handle(call, handler);
    call.lock = {};
    whole = !request.broken;
  }
  if (call.fault && !instead && whole) spoil_answer(hub, request, *call.fault, answer);
  for (const auto& [name, value] : common)
    if (!find_header(answer.headers, name)) answer.with(name, value);
  if (hub.config.latency.count() > 0) request.wire->wait(hub.config.latency);

  const bool unanswered = !whole || (call.fault && call.fault->kind == "reset-after");
  entry.status = unanswered ? 0 : answer.status;
  entry.answer_bytes = answer.content ? answer.length : answer.body.size();
  entry.end_ms = now_ms();
  hub.log.add(request, entry);
  return answer;
}

}  // namespace

Answer serve_hub(Hub& hub, Request& request) {
  if (request.target.starts_with(hub.config.path_prefix + "/_admin/")) {
    if (!request.read_whole()) return {};
    try {
      return admin(hub, request);
    } catch (const mu::Error& error) {
      return text_answer(400, std::string(error.what()) + "\n");
    }
  }
  Call call{hub, request, {}, {}, {}, {}, {}, {}, nullptr, nullptr};
  find_route(call);
  return serve(call, false, [&] {
    call.lock = std::unique_lock(hub.mutex);
    return run_route(call);
  });
}

Answer serve_storage(Hub& hub, Request& request) {
  const bool put = request.method == "PUT";
  Call call{hub, request, {}, {}, {}, {}, {}, {}, nullptr, nullptr};
  call.route = put ? "storage-put" : "storage-get";
  const std::size_t mark = request.target.find('?');
  if (mark != std::string::npos) call.query = parse_query(std::string_view(request.target).substr(mark + 1));
  const std::string path =
      percent_decode(std::string_view(request.target).substr(0, mark)).value_or("/").substr(1);
  if (path.starts_with("_files/")) {
    const std::string name = path.substr(7);
    if (put) return put_plain(hub, request, name, call.query);
    call.route = "file-get";
    return serve(call, true, [&] { return get_plain(hub, request, name, call.fault); });
  }
  {
    const std::lock_guard lock(hub.mutex);
    const Repo* repo = hub.repo_of_prefix(path.substr(0, path.rfind('/')));
    if (repo) {
      call.type = repo->type;
      call.id = repo->id;
    }
  }
  return serve(call, true, [&] {
    if (request.header("Authorization"))
      return xml_error(400, "InvalidArgument",
                       "Only one auth mechanism allowed; Authorization was sent as well");
    hub.check_signature(request.method == "HEAD" ? "GET" : request.method, path, call.query);
    if (put) return storage_put(hub, request, path, call.query, call.fault);
    if (request.method == "GET" || request.method == "HEAD")
      return storage_get(hub, request, path, call.query, call.fault);
    return xml_error(405, "MethodNotAllowed", "The method is not allowed");
  });
}

}  // namespace hub
