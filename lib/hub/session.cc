// SPDX-License-Identifier: Apache-2.0
#include "hub/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>
#include <thread>

#include "base/text.h"
#include "model/pickled.h"
#include "net/url.h"
#include "os/interrupt.h"

namespace mu {
namespace {

constexpr unsigned kMaxTries = 5;
constexpr int kMaxRedirects = 5;
constexpr double kSilentWait = 5;  // seconds; longer waits are announced
constexpr std::string_view kInvalidToken = "Invalid credentials in Authorization header";

void add_text(std::vector<std::string>& texts, std::string_view text) {
  std::string line = escape_name(trim(text));
  if (!line.empty() && std::find(texts.begin(), texts.end(), line) == texts.end())
    texts.push_back(std::move(line));
}

void add_value(std::vector<std::string>& texts, const JsonValue& value) {
  if (const std::string* text = value.as_string()) add_text(texts, *text);
  for (const JsonValue& item : value.items()) add_value(texts, item);
  for (const char* key : {"error", "error_description", "errors", "message", "detail"}) {
    if (const JsonValue* found = value.find(key)) add_value(texts, *found);
  }
}

// <Error><Code>EntityTooSmall</Code><Message>…</Message></Error>, as S3 says it.
void add_xml(std::vector<std::string>& texts, std::string_view body) {
  for (const std::string_view tag : {"Code", "Message"}) {
    const std::string open = fmt::format("<{}>", tag), close = fmt::format("</{}>", tag);
    const std::size_t begin = body.find(open), end = body.find(close);
    if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) continue;
    add_text(texts, body.substr(begin + open.size(), end - begin - open.size()));
  }
}

// Whether a login by the browser gave the token, and is over.
bool has_ended(const std::string& token, double now) {
  try {
    const std::optional<double> expiry = token_expiry(token);
    return expiry && *expiry < now;
  } catch (const Error&) {
    return false;  // a file that can't be read says nothing
  }
}

std::string_view status_advice(int status, Refusal refusal, bool has_token) {
  switch (refusal) {
    case Refusal::kBadToken:
      return "the token is not valid (any more): log in again, or set HF_TOKEN";
    case Refusal::kGated:
      return "ask for access on the repository's page";
    case Refusal::kNoRepo:
      return has_token ? "is the name right, and may this token see it?"
                       : "set HF_TOKEN, or log in with hf auth login";
    case Refusal::kNoRevision:
    case Refusal::kNoEntry:
    case Refusal::kDisabled:
    case Refusal::kOther:
      break;
  }
  if (status == 401 && !has_token) return "set HF_TOKEN, or log in with hf auth login";
  if (status == 401 || status == 403) return "does this token have write access to the repository?";
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
    : settings_(std::move(settings)), client_(client) {
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
      add_value(texts, parse_json(body).root);
    } catch (const Error&) {  // cut short; the status says enough
      add_text(texts, "(its answer is no JSON)");
    }
  } else if (body.starts_with("<?xml") || body.starts_with("<Error>")) {
    add_xml(texts, body);
  } else if (!body.starts_with("<") && body.size() < 500) {
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
  // The Hub answers 401 for repositories that are private or missing to those who may not know.
  if ((code != nullptr && *code == "RepoNotFound") || response.status == 401) return Refusal::kNoRepo;
  return Refusal::kOther;
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
    return std::move(parse_json(response.body).root);
  } catch (const Error& error) {
    throw Error(ErrorKind::kRemote,
                fmt::format("cannot {}: the answer makes no sense (no JSON: {})", what, error.what()))
        .hint("is this address a hub?");
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

Error HubSession::error(const HubRequest& request, const HttpResponse& response) const {
  std::string text = fmt::format("cannot {}: {} answers {}", request.what,
                                 origin(parse_url(settings_.endpoint)), response.status);
  if (const std::string message = hub_message(response); !message.empty()) text += ": " + masked(message);
  for (const char* name : {"x-request-id", "x-amzn-trace-id", "x-amz-cf-id"}) {
    const std::string* id = response.header(name);
    if (id == nullptr) continue;
    text += fmt::format(" (request {})", escape_name(*id));
    break;
  }
  // 501 and 507: what the server can't do, and no room; waiting helps neither.
  const bool temporary = response.status == 408 || response.status == 429 ||
                         (response.status >= 500 && response.status != 501 && response.status != 507);
  Error error(temporary ? ErrorKind::kTemporary : ErrorKind::kRemote, std::move(text));
  const std::string_view advice =
      temporary ? "try again later"
      : response.status == 401 && has_token() && has_ended(settings_.token->value, settings_.clock.now())
          ? "the login that gave this token has ended: hf auth login"
          : status_advice(response.status, refusal_of(response), has_token());
  if (!advice.empty()) error.hint(advice);
  return error;
}

void HubSession::wait(double seconds, double& waited, const std::string& why) const {
  if (waited + seconds > settings_.max_wait_s)
    throw Error(ErrorKind::kTemporary,
                fmt::format("{}; waiting {:.0f} s more would go beyond --max-wait", why, std::ceil(seconds)))
        .hint(fmt::format("try again in {:.0f} s", std::ceil(seconds)));
  waited += seconds;
  if (seconds >= kSilentWait && settings_.warn)
    settings_.warn(fmt::format("{}; waiting {:.0f} s", why, std::ceil(seconds)));
  settings_.clock.sleep(seconds);
}

void HubSession::note_warnings(const HttpResponse& response) {
  for (const HttpHeader& header : response.headers) {
    if (header.name != "x-hf-warning" || !settings_.warn) continue;
    const std::string text = "the hub warns: " + masked(escape_name(header.value));
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (std::find(warned_.begin(), warned_.end(), text) != warned_.end() || warned_.size() > 100) continue;
      warned_.push_back(text);
    }
    settings_.warn(text);
  }
}

// Files are counted apart from all other calls.
HubSession::Quota& HubSession::quota_of(const HttpRequest& request) {
  return request.url.find("/resolve/") == std::string::npos ? api_quota_ : resolve_quota_;
}

void HubSession::note_rate_limit(const HttpResponse& response, Quota& quota) {
  const std::string* header = response.header("ratelimit");
  if (header == nullptr) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  quota = {parse_rate_limit(*header), settings_.clock.now()};
}

// A window that ends later than waiting is allowed is left to the server's own judgement.
void HubSession::pace(Quota& quota, double& waited) {
  double seconds = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!quota.limit) return;
    seconds = pace_wait(*quota.limit, settings_.clock.now() - quota.told_at);
  }
  if (seconds > 0 && waited + seconds <= settings_.max_wait_s)
    wait(seconds, waited, "few requests are left of the hub's quota");
}

std::string HubSession::current_token() {
  constexpr double kRenewBefore = 300;  // seconds
  const std::lock_guard<std::mutex> lock(mutex_);
  Token& token = *settings_.token;
  if (settings_.renew && token.expires > 0 && settings_.clock.now() > token.expires - kRenewBefore)
    token = settings_.renew();
  return token.value;
}

HttpResponse HubSession::try_until_final(HttpRequest& request, bool authorized, bool repeatable) {
  if (is_offline())
    throw Error(ErrorKind::kTemporary, "HF_HUB_OFFLINE is set: nothing is sent").hint("unset it to publish");
  const bool at_hub = same_origin(request.url, settings_.endpoint);
  if (authorized && settings_.token && at_hub)
    request.headers.push_back({"Authorization", "Bearer " + current_token()});
  double waited = 0;
  for (unsigned failed = 1;; ++failed) {
    std::string why;
    std::optional<RetryWait> next;
    if (at_hub) pace(quota_of(request), waited);
    try {
      HttpResponse response = client_.send(request);
      note_warnings(response);
      if (at_hub) note_rate_limit(response, quota_of(request));
      next = wait_after(response, failed, settings_.clock.now(), settings_.clock.dice());
      if (!next || (!repeatable && response.status != 429)) return response;
      why = fmt::format("{} answers {}", origin(parse_url(request.url)), response.status);
      if (const std::string message = hub_message(response); !message.empty()) why += ": " + masked(message);
      if (next->counts && failed >= kMaxTries) return response;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kTemporary || !repeatable || failed >= kMaxTries) throw;
      next = wait_after_failure(failed, settings_.clock.dice());
      why = error.what();
    }
    wait(next->seconds, waited, why);
    if (!next->counts) --failed;
  }
}

HttpResponse HubSession::follow(HttpRequest request, bool authorized, bool repeatable) {
  for (int hops = 0; hops <= kMaxRedirects; ++hops) {
    HttpRequest attempt = request;
    HttpResponse response = try_until_final(attempt, authorized, repeatable);
    const std::string* location = response.header("location");
    if (response.status < 300 || response.status >= 400 || location == nullptr) return response;
    const std::string target = resolve_location(request.url, *location);
    const bool keeps_method = response.status == 307 || response.status == 308;
    const bool reads = request.method == "GET" || request.method == "HEAD";
    if (!same_origin(target, request.url))
      throw Error(ErrorKind::kRemote, fmt::format("{} sends us on to {}, another place",
                                                  printable_url(request.url), origin(parse_url(target))))
          .hint("name the hub by its own address in HF_ENDPOINT");
    if (!keeps_method && !reads)
      throw Error(ErrorKind::kRemote,
                  fmt::format("{} answers {} to a {}: it can't be followed", printable_url(request.url),
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
  try {
    return follow(std::move(http), true, request.repeatable);
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
  request.url = at_endpoint(request.url, settings_.endpoint);
  const bool ours = authorized && same_origin(request.url, settings_.endpoint);
  return try_until_final(request, ours, true);
}

}  // namespace mu
