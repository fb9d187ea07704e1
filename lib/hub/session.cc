// SPDX-License-Identifier: Apache-2.0
// One request passes through three layers:
//   send, send_url     make the request of a path on the hub, or of a URL that the hub handed out
//   follow             follows redirects on the hub itself: no other host gets a request meant for the hub
//   try_until_final    adds the token, sends, and repeats until the answer is final
// An answer is final if it is a success or a refusal that waiting does not change (net/retry.h decides). Else
// the next try waits: as long as the server asks, or longer with each failure. All waits of a request come
// out of its Patience, and so does the time that a failing hub takes to answer; when that is used up, the
// last answer is the result. Before that, requests to the hub slow down when its RateLimit header says that
// few are left, which is cheaper than a refusal.
//
// The token goes to the origin of the endpoint alone, over plain http only to this machine or with
// --insecure-http. Whatever a server says is shortened, escaped, and searched for secrets before it becomes
// part of a message.
#include "hub/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>
#include <thread>

#include "base/text.h"
#include "model/secrets.h"
#include "net/url.h"
#include "os/interrupt.h"

namespace mu {
namespace {

constexpr std::size_t kMaxTexts = 8, kMaxColumns = 800;  // of a message
constexpr JsonLimits kAnswerLimits = {.depth = 64, .values = 500'000};
constexpr int kMaxRedirects = 5;
constexpr double kSilentWait = 5;  // seconds; longer waits are reported
constexpr std::string_view kInvalidToken = "Invalid credentials in Authorization header";

void add_text(std::vector<std::string>& texts, std::string_view text) {
  std::string line = shorten(escape_name(trim(text)), kMaxColumns);
  if (!line.empty() && texts.size() < kMaxTexts && std::find(texts.begin(), texts.end(), line) == texts.end())
    texts.push_back(std::move(line));
}

void add_value(std::vector<std::string>& texts, const JsonValue& value) {
  if (const std::string* text = value.as_string()) add_text(texts, *text);
  for (const JsonValue& item : value.items()) add_value(texts, item);
  for (const char* key : {"error", "error_description", "errors", "message", "detail"}) {
    if (const JsonValue* found = value.find(key)) add_value(texts, *found);
  }
}

// The first strings with these keys in JSON that was cut short.
void add_cut(std::vector<std::string>& texts, std::string_view body) {
  for (const std::string_view key : {"\"error\"", "\"message\""}) {
    std::size_t begin = body.find(key);
    if (begin == std::string_view::npos) continue;
    begin = body.find_first_not_of(" :\t\r\n", begin + key.size());
    if (begin == std::string_view::npos || body[begin] != '"') continue;
    std::size_t end = begin + 1;
    while (end < body.size() && body[end] != '"') end += body[end] == '\\' ? 2 : 1;
    if (end >= body.size()) {
      add_text(texts, body.substr(begin + 1));  // the message itself is cut
      continue;
    }
    try {
      add_value(texts, parse_json(body.substr(begin, end + 1 - begin)).root);
    } catch (const Error&) {  // not a string after all
    }
  }
}

// S3: <Error><Code>EntityTooSmall</Code><Message>…</Message></Error>
void add_xml(std::vector<std::string>& texts, std::string_view body) {
  for (const std::string_view tag : {"Code", "Message"}) {
    const std::string open = fmt::format("<{}>", tag), close = fmt::format("</{}>", tag);
    const std::size_t begin = body.find(open), end = body.find(close);
    if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) continue;
    add_text(texts, body.substr(begin + open.size(), end - begin - open.size()));
  }
}

// Whether the token comes from a login by the browser that has expired.
bool has_ended(const std::string& token, double now) {
  try {
    const std::optional<double> expiry = token_expiry(token);
    return expiry && *expiry < now;
  } catch (const Error&) {
    return false;  // not known: the file can't be read
  }
}

std::string_view status_advice(int status, Refusal refusal, bool has_token, bool reads,
                               std::string_view message) {
  if (is_about_quota(message)) return "free up space there or get more, then run the same command again";
  switch (refusal) {
    case Refusal::kBadToken:
      return "the token is invalid or has expired: log in again, or set HF_TOKEN";
    case Refusal::kGated:
      return "ask for access on the repository's page";
    case Refusal::kNoRepo:
      return has_token ? "check the name, and that this token may see it"
                       : "set HF_TOKEN, or log in with hf auth login";
    case Refusal::kNoRevision:
    case Refusal::kNoEntry:
    case Refusal::kDisabled:
    case Refusal::kOther:
      break;
  }
  if (status == 401 && !has_token) return "set HF_TOKEN, or log in with hf auth login";
  if ((status == 401 || status == 403) && reads) return "check that this token may read the repository";
  if (status == 401 || status == 403) return "check that this token has write access to the repository";
  if (status == 413) return "push fewer files at once";
  return "";
}

}  // namespace

SessionClock SessionClock::real() {
  return {[] {
            return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
          },
          [](double seconds) {
            const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
            while (std::chrono::steady_clock::now() < end) {
              check_interrupt();
              std::this_thread::sleep_for(std::chrono::milliseconds(50));
            }
          },
          [] {
            thread_local std::mt19937_64 engine{std::random_device{}()};
            return std::uniform_real_distribution<double>(0, 1)(engine);
          }};
}

HubSession::HubSession(SessionSettings settings, HttpClient& client)
    : HubSession(std::move(settings),
                 [&client](const HttpRequest& request) { return client.send(request); }) {}

HubSession::HubSession(SessionSettings settings, Exchange exchange)
    : settings_(std::move(settings)), exchange_(std::move(exchange)) {
  const Url url = parse_url(settings_.endpoint);
  if (settings_.token && url.scheme == "http" && !is_loopback(url) && !settings_.insecure_http)
    throw usage(fmt::format("a token would go over plain http to {}", url.host))
        .hint("use https, or --insecure-http where the network is trusted");
}

std::string hub_message(const HttpResponse& response) {
  std::vector<std::string> texts;
  if (const std::string* message = response.header("x-error-message")) add_text(texts, *message);
  const std::string_view body = trim(response.body);
  if (body.starts_with("{") || body.starts_with("[") || body.starts_with("\"")) {
    try {
      add_value(texts, parse_json(body, kAnswerLimits).root);
    } catch (const Error&) {
      add_cut(texts, body);
      if (texts.empty()) add_text(texts, "(its answer is not JSON)");  // the status says enough
    }
  } else if (body.starts_with("<?xml") || body.starts_with("<Error>")) {
    add_xml(texts, body);
  } else if (!body.starts_with("<")) {
    add_text(texts, body);
  }
  return join(texts, "; ");
}

Refusal refusal_of(const HttpResponse& response) {
  const std::string* code = response.header("x-error-code");
  const std::string* message = response.header("x-error-message");
  if (code != nullptr && *code == "RevisionNotFound") return Refusal::kNoRevision;
  if (code != nullptr && *code == "EntryNotFound") return Refusal::kNoEntry;
  if (code != nullptr && *code == "GatedRepo") return Refusal::kGated;
  if (message != nullptr && *message == "Access to this resource is disabled.") return Refusal::kDisabled;
  const bool bad_token =
      response.status == 401 && hub_message(response).find(kInvalidToken) != std::string::npos;
  if (bad_token) return Refusal::kBadToken;
  // The Hub answers 401 for private and missing repositories alike, if the caller may not know which.
  if ((code != nullptr && *code == "RepoNotFound") || response.status == 401) return Refusal::kNoRepo;
  return Refusal::kOther;
}

bool is_about_quota(std::string_view message) {
  const std::string text = lower_ascii(message);
  constexpr std::string_view kWords[] = {"quota",          "storage limit", "storage space", "storage usage",
                                         "out of storage", "billing",       "payment"};
  return std::any_of(std::begin(kWords), std::end(kWords),
                     [&text](std::string_view word) { return text.find(word) != std::string::npos; });
}

std::string at_endpoint(const std::string& url, const std::string& endpoint) {
  for (const std::string_view hub : {"https://huggingface.co", "https://hub-ci.huggingface.co"}) {
    const bool there = url.starts_with(hub) &&
                       (url.size() == hub.size() || url[hub.size()] == '/' || url[hub.size()] == '?');
    if (there && !endpoint.starts_with(hub)) return endpoint + url.substr(hub.size());
  }
  return url;
}

JsonValue parse_answer(const HttpResponse& response, std::string_view what) {
  try {
    return std::move(parse_json(response.body, kAnswerLimits).root);
  } catch (const Error& error) {
    throw Error(ErrorKind::kRemote,
                fmt::format("cannot {}: unexpected answer (not JSON: {})", what, escape_name(error.what())))
        .hint("check that this address is a hub");
  }
}

std::string HubSession::masked(std::string text) const {
  if (settings_.token) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (std::size_t at = text.find(settings_.token->value); at != std::string::npos;
         at = text.find(settings_.token->value, at))
      text.replace(at, settings_.token->value.size(), "***");
  }
  return mask_secrets(text);
}

std::string HubSession::shown(std::string_view text) const {
  return shorten(masked(escape_name(trim(text))), kMaxColumns);
}

Error HubSession::error(const HubRequest& request, const HttpResponse& response) const {
  std::string text = fmt::format(
      "cannot {}: {} answers {}", request.what,
      request.asked.empty() ? origin(parse_url(settings_.endpoint)) : request.asked, response.status);
  const std::string message = hub_message(response);
  if (!message.empty()) text += ": " + masked(message);
  for (const char* name : {"x-request-id", "x-amzn-trace-id", "x-amz-cf-id"}) {
    const std::string* id = response.header(name);
    if (id == nullptr) continue;
    text += fmt::format(" (request {})", shown(*id));
    break;
  }
  const bool temporary = may_pass(response);
  Error error(temporary ? ErrorKind::kTemporary : ErrorKind::kRemote, std::move(text));
  const std::string_view advice =
      temporary ? "try again later"
      : response.status == 401 && has_token() && has_ended(settings_.token->value, settings_.clock.now())
          ? "the login behind this token has expired: hf auth login"
          : status_advice(response.status, refusal_of(response), has_token(), request.method == "GET",
                          message);
  if (!advice.empty()) error.hint(advice);
  return error;
}

// Of many requests that wait for the same server, one says so.
bool HubSession::is_news(double seconds) const {
  const double now = settings_.clock.now();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (now < said_until_) return false;
  said_until_ = now + seconds - 0.5;
  return true;
}

void HubSession::sleep(double seconds, Patience& patience, const std::string& why) const {
  patience.spend(seconds);
  if (seconds >= kSilentWait && settings_.warn && is_news(seconds))
    settings_.warn(fmt::format("{}; waiting {:.0f} s", why, std::ceil(seconds)));
  settings_.clock.sleep(seconds);
}

bool HubSession::wait(const RetryWait& next, Patience& patience, const std::string& why) const {
  if (next.at_least > std::max(patience.left(), 0.0))
    throw Error(ErrorKind::kTemporary,
                fmt::format("{}; it asks to wait {:.0f} s, longer than --max-wait still allows", why,
                            std::ceil(next.at_least)))
        .hint(fmt::format("try again in {:.0f} s", std::ceil(next.at_least)));
  if (patience.left() <= 0) return false;
  sleep(std::min(std::max(next.seconds, next.at_least), patience.left()), patience, why);
  return true;
}

void HubSession::note_warnings(const HttpResponse& response) {
  for (const HttpHeader& header : response.headers) {
    if (header.name != "x-hf-warning" || !settings_.warn) continue;
    const std::string text = "the hub warns: " + shown(header.value);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (std::find(warned_.begin(), warned_.end(), text) != warned_.end() || warned_.size() > 100) continue;
      warned_.push_back(text);
    }
    settings_.warn(text);
  }
}

// The Hub counts requests for files apart from all other calls.
HubSession::Quota& HubSession::quota_of(const HttpRequest& request) {
  return request.url.find("/resolve/") == std::string::npos ? api_quota_ : resolve_quota_;
}

void HubSession::note_rate_limit(const HttpResponse& response, Quota& quota) {
  const std::string* header = response.header("ratelimit");
  if (header == nullptr) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  quota = {parse_rate_limit(*header), settings_.clock.now()};
}

// If the window ends later than patience allows, the request is sent, and the server decides.
void HubSession::pace(Quota& quota, Patience& patience) {
  double seconds = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!quota.limit) return;
    seconds = pace_wait(*quota.limit, settings_.clock.now() - quota.reported_at);
  }
  if (seconds > 0 && seconds <= patience.left())
    sleep(seconds, patience, "the hub's quota of requests is nearly used up");
}

std::string HubSession::current_token() {
  constexpr double kRenewBefore = 300;  // seconds
  const std::lock_guard<std::mutex> lock(mutex_);
  Token& token = *settings_.token;
  if (settings_.renew && token.expires > 0 && settings_.clock.now() > token.expires - kRenewBefore)
    token = settings_.renew();
  return token.value;
}

HttpResponse HubSession::try_until_final(HttpRequest& request, bool authorized, Repeat repeat,
                                         Patience& patience) {
  if (is_offline())
    throw Error(ErrorKind::kTemporary, "HF_HUB_OFFLINE is set: nothing is sent")
        .hint("unset it to use the network");
  const bool at_hub = same_origin(request.url, settings_.endpoint);
  if (authorized && settings_.token && at_hub)
    request.headers.push_back({"Authorization", "Bearer " + current_token()});
  while (true) {
    if (at_hub) pace(quota_of(request), patience);
    const double begin = settings_.clock.now();
    std::string why;
    std::optional<RetryWait> next;
    std::optional<HttpResponse> response;
    try {
      response = exchange_(request);
      note_warnings(*response);
      if (at_hub) note_rate_limit(*response, quota_of(request));
      next = wait_after(*response, patience.failed() + 1, settings_.clock.now(), settings_.clock.dice());
      const bool undone = response->status == 429 || response->status == 503 || response->status == 409;
      if (!next || repeat == Repeat::kNever || (repeat == Repeat::kUndone && !undone)) return *response;
      why = fmt::format("{} answers {}", origin(parse_url(request.url)), response->status);
      if (const std::string message = hub_message(*response); !message.empty()) why += ": " + masked(message);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kTemporary || repeat != Repeat::kAlways) throw;
      next = wait_after_failure(patience.failed() + 1, settings_.clock.dice());
      why = error.what();
    }
    // The delays of a failing hub count as waiting; the time of a large upload does not.
    if (patience.failed() > 0 && request.timeout_s > 0) patience.spend(settings_.clock.now() - begin);
    patience.note_failure();
    if (wait(*next, patience, why)) continue;
    if (response) return *response;
    throw Error(ErrorKind::kTemporary, why);
  }
}

std::string HubSession::led_to(const std::string& from, const std::string& to) const {
  std::string target = resolve_location(from, to);
  // Who named the public Hub itself stays there; a mirror hands out its addresses and means its own.
  if (at_endpoint(from, settings_.endpoint) == from) target = at_endpoint(target, settings_.endpoint);
  const auto astray = [&](std::string_view why) {
    return Error(ErrorKind::kRemote,
                 fmt::format("{} sends us to {}: {}", origin(parse_url(from)), printable_url(target), why));
  };
  try {
    const Url url = parse_url(target);
    if (url.scheme == "https" || parse_url(from).scheme == "http" || settings_.insecure_http) return target;
  } catch (const Error&) {
    throw astray("not an address to follow");
  }
  throw astray("not encrypted");
}

HttpResponse HubSession::follow(HttpRequest request, bool authorized, Repeat repeat, Patience& patience) {
  for (int hops = 0; hops <= kMaxRedirects; ++hops) {
    HttpRequest attempt = request;
    HttpResponse response = try_until_final(attempt, authorized, repeat, patience);
    const std::string* location = response.header("location");
    if (response.status < 300 || response.status >= 400 || location == nullptr) return response;
    const std::string target = led_to(request.url, *location);
    const bool keeps_method = response.status == 307 || response.status == 308;
    const bool reads = request.method == "GET" || request.method == "HEAD";
    if (!same_origin(target, request.url))
      throw Error(ErrorKind::kRemote, fmt::format("{} redirects to another host, {}",
                                                  printable_url(request.url), origin(parse_url(target))))
          .hint("name the hub by its own address in HF_ENDPOINT");
    if (!keeps_method && !reads)
      throw Error(ErrorKind::kRemote,
                  fmt::format("{} answers {} to a {}, which can't be followed", printable_url(request.url),
                              response.status, request.method));
    request.url = target;
  }
  throw Error(ErrorKind::kRemote,
              fmt::format("{}: more than {} redirects", printable_url(request.url), kMaxRedirects));
}

HttpResponse HubSession::send(const HubRequest& request) {
  HttpRequest http;
  http.method = request.method;
  http.url = settings_.endpoint + request.path;
  http.body = request.body;
  http.timeout_s = request.timeout_s;
  if (!request.content_type.empty()) http.headers.push_back({"Content-Type", request.content_type});
  if (!request.accept.empty()) http.headers.push_back({"Accept", request.accept});
  Patience own(settings_.max_wait_s);
  try {
    return follow(std::move(http), true, request.repeat,
                  request.patience != nullptr ? *request.patience : own);
  } catch (Error& error) {
    throw error.at("cannot " + request.what);
  }
}

HttpResponse HubSession::must(const HubRequest& request) {
  HttpResponse response = send(request);
  if (!response.ok()) throw error(request, response);
  return response;
}

JsonValue HubSession::json(const HubRequest& request) {
  return parse_answer(must(request), request.what);
}

HttpResponse HubSession::send_url(HttpRequest request, bool authorized) {
  const bool ours = authorized && same_origin(request.url, settings_.endpoint);
  Patience patience(settings_.max_wait_s);
  return try_until_final(request, ours, Repeat::kAlways, patience);
}

HttpResponse HubSession::send_url_once(HttpRequest request, bool authorized, Patience& patience) {
  const bool ours = authorized && same_origin(request.url, settings_.endpoint);
  return try_until_final(request, ours, Repeat::kNever, patience);
}

}  // namespace mu
