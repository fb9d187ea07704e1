// SPDX-License-Identifier: Apache-2.0
// Requests to a hub and to the storage it names: sends the token where it may go and nowhere else, follows
// redirects, repeats and waits, and makes errors that say what the hub said. Source: huggingface_hub 2.4.0
// (utils/_http.py), for how refusals are classified.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "net/environment.h"
#include "net/http.h"
#include "net/retry.h"

namespace mu {

// Time and chance, which tests replace.
struct SessionClock {
  std::function<double()> now;        // Unix seconds
  std::function<void(double)> sleep;  // seconds; throws Interrupted on a signal
  std::function<double()> dice;       // in [0, 1)
  static SessionClock real();
};

struct SessionSettings {
  std::string endpoint;  // "https://huggingface.co"; may end in a path
  std::optional<Token> token;
  std::function<Token()> renew;  // makes a fresh token; set where tokens are short-lived
  bool insecure_http = false;    // a token may go over plain http to another machine
  double max_wait_s = 120;       // for one request, over all its tries
  SessionClock clock = SessionClock::real();
  std::function<void(const std::string&)>
      warn;  // called with each warning of the hub once, and with long waits
};

// What is left of --max-wait for one request over all its tries, or for several requests with one purpose.
class Patience {
 public:
  explicit Patience(double seconds) : left_(seconds) {}

  [[nodiscard]] double left() const { return left_; }
  [[nodiscard]] unsigned failed() const { return failed_; }  // tries
  void note_failure() { ++failed_; }
  void spend(double seconds) { left_ -= seconds; }

 private:
  double left_;  // seconds
  unsigned failed_ = 0;
};

// When a request may be sent again.
enum class Repeat : std::uint8_t {
  kAlways,
  kUndone,  // if the server says that nothing was done: 429, 503, busy
  kNever,   // the caller gets every answer, or kTemporary when there is none
};

// A request to the hub itself.
struct HubRequest {
  std::string method = "GET";
  std::string path;          // after the endpoint: "/api/models/owner/name"
  std::string content_type;  // of the body
  std::string accept;
  std::optional<HttpBody> body;
  std::string what;     // "create the repository": for messages
  std::string asked{};  // who refuses, for messages: an origin; empty: the hub
  Repeat repeat = Repeat::kAlways;
  unsigned timeout_s = 90;
  Patience* patience = nullptr;  // shared with other requests; null: this request has --max-wait for itself
};

class HubSession {
 public:
  // Throws kUsage if the token would go over plain http to another machine.
  HubSession(SessionSettings settings, HttpClient& client);
  // The same with another way to exchange a request for an answer, as HttpClient::send() does.
  using Exchange = std::function<HttpResponse(const HttpRequest&)>;
  HubSession(SessionSettings settings, Exchange exchange);

  // Returns the final answer, whatever its status. Follows redirects on the hub itself.
  HttpResponse send(const HubRequest& request);
  // Returns a success; throws error() for any other answer.
  HttpResponse must(const HubRequest& request);
  // The same, parsed. Throws kRemote for an answer that is not JSON.
  JsonValue json(const HubRequest& request);

  // Sends a request to a URL that the hub handed out. The token goes along only if `authorized` and the URL
  // leads to the hub. Redirects are the caller's.
  HttpResponse send_url(HttpRequest request, bool authorized);
  // The same once, for callers that repeat by themselves: returns any answer, throws kTemporary if none comes.
  HttpResponse send_url_once(HttpRequest request, bool authorized, Patience& patience);

  // Where a Location header or a link that came from `from` leads. Throws kRemote for anything but an http or
  // https URL, and for a step from https to http (unless the user said --insecure-http).
  [[nodiscard]] std::string led_to(const std::string& from, const std::string& to) const;

  // Waits before the next try; returns false if no patience is left. Throws kTemporary, naming the time, if
  // the server asks for a longer wait than is left. `why` says what failed.
  bool wait(const RetryWait& next, Patience& patience, const std::string& why) const;

  [[nodiscard]] const std::string& endpoint() const { return settings_.endpoint; }
  [[nodiscard]] bool has_token() const { return settings_.token.has_value(); }
  [[nodiscard]] const SessionClock& clock() const { return settings_.clock; }
  [[nodiscard]] double max_wait_s() const { return settings_.max_wait_s; }

  // The text with the token and other secrets masked.
  [[nodiscard]] std::string masked(std::string text) const;
  // A text of the hub as it may be printed: on one line, escaped, shortened, secrets masked.
  [[nodiscard]] std::string shown(std::string_view text) const;
  // The error for a refusal: status, message, request id, and advice as the hint.
  [[nodiscard]] Error error(const HubRequest& request, const HttpResponse& response) const;

 private:
  HttpResponse try_until_final(HttpRequest& request, bool authorized, Repeat repeat, Patience& patience);
  HttpResponse follow(HttpRequest request, bool authorized, Repeat repeat, Patience& patience);
  [[nodiscard]] bool is_news(double seconds) const;
  void sleep(double seconds, Patience& patience, const std::string& why) const;
  void note_warnings(const HttpResponse& response);
  struct Quota {
    std::optional<RateLimit> limit;  // as the hub reported it last
    double reported_at = 0;          // Unix seconds
  };
  Quota& quota_of(const HttpRequest& request);
  void note_rate_limit(const HttpResponse& response, Quota& quota);
  void pace(Quota& quota, Patience& patience);
  std::string current_token();

  SessionSettings settings_;
  Exchange exchange_;
  mutable std::mutex mutex_;       // guards what follows and the token
  mutable double said_until_ = 0;  // Unix seconds: when the wait ends that was reported last
  std::vector<std::string> warned_;
  Quota api_quota_, resolve_quota_;
};

// What went wrong, by the headers and body of an answer: one line, escaped, perhaps empty.
std::string hub_message(const HttpResponse& response);

// What a refusal is about.
enum class Refusal : std::uint8_t { kNoRepo, kNoRevision, kNoEntry, kGated, kDisabled, kBadToken, kOther };
Refusal refusal_of(const HttpResponse& response);

// Whether a refusal is about storage or billing, where neither another token nor a smaller request helps.
bool is_about_quota(std::string_view message);

// The URL at the endpoint, for URLs of the public Hub, which mirrors hand out unchanged; else `url`.
std::string at_endpoint(const std::string& url, const std::string& endpoint);

// The body as JSON. Throws kRemote if it is not.
JsonValue parse_answer(const HttpResponse& response, std::string_view what);

}  // namespace mu
