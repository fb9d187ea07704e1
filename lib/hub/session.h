// SPDX-License-Identifier: Apache-2.0
// Requests to a hub and to the storage it names: the token where it may go and nowhere else, redirects, tries
// and waits, and errors that say what the hub said. Source: facts of the Hub's API in hub's own headers;
// classification as huggingface_hub's utils/_http.py.
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

// Time and chance, so that tests need neither.
struct SessionClock {
  std::function<double()> now;        // Unix seconds
  std::function<void(double)> sleep;  // seconds; throws Interrupted on a signal
  std::function<double()> dice;       // in [0, 1)
  static SessionClock real();
};

struct SessionSettings {
  std::string endpoint;  // "https://huggingface.co"; may end in a path
  std::optional<Token> token;
  std::function<Token()> renew;  // makes a fresh token, where tokens live for a short time
  bool insecure_http = false;    // a token may go over plain http to another machine
  double max_wait_s = 120;       // of waiting for one request
  SessionClock clock = SessionClock::real();
  std::function<void(const std::string&)> warn;  // what the hub warns of, once each; waits that take long
};

// What is left of --max-wait for one request over all its tries, or for several that serve one end.
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
  kUndone,  // where the server says that nothing was done: 429, 503, busy
  kNever,   // the caller sees every answer, and Error kTemporary when there is none
};

// A request to the hub itself.
struct HubRequest {
  std::string method = "GET";
  std::string path;          // after the endpoint: "/api/models/owner/name"
  std::string content_type;  // of the body
  std::string accept;
  std::optional<HttpBody> body;
  std::string what;  // "create the repository": for messages
  Repeat repeat = Repeat::kAlways;
  unsigned timeout_s = 90;
  Patience* patience = nullptr;  // shared with other requests; else --max-wait is its own
};

class HubSession {
 public:
  // Throws kUsage when a token would go over plain http to another machine.
  HubSession(SessionSettings settings, HttpClient& client);

  // Any final answer, whatever its status; redirects on the hub itself are followed.
  HttpResponse send(const HubRequest& request);
  // The answer of a success; anything else is thrown as hub_error().
  HttpResponse must(const HubRequest& request);
  // The same, parsed. Throws kRemote for what is no JSON object or array.
  JsonValue json(const HubRequest& request);

  // A request to a URL that the hub handed out, without the token unless `authorized` and it leads to the
  // hub.
  HttpResponse send_url(HttpRequest request, bool authorized);

  // Where a Location header or a link that came from `from` leads. Throws kRemote for what is no http or
  // https URL, and where encryption would be left (https to http, unless the user said --insecure-http).
  [[nodiscard]] std::string led_to(const std::string& from, const std::string& to) const;

  // Waits before the next try, as far as there is patience. False when none is left. Throws kTemporary,
  // naming the time, when the server asks for more than is left. `why` says what failed.
  bool wait(const RetryWait& next, Patience& patience, const std::string& why) const;

  [[nodiscard]] const std::string& endpoint() const { return settings_.endpoint; }
  [[nodiscard]] bool has_token() const { return settings_.token.has_value(); }
  [[nodiscard]] const SessionClock& clock() const { return settings_.clock; }
  [[nodiscard]] double max_wait_s() const { return settings_.max_wait_s; }

  // What stands in a message of the hub, with the token masked should it be there.
  [[nodiscard]] std::string masked(std::string text) const;
  // A text of the hub as it may be printed: one line, escaped, not too long, the token masked.
  [[nodiscard]] std::string shown(std::string_view text) const;
  // What to do about a refusal, thrown by must(): status, message, request id, advice.
  [[nodiscard]] Error error(const HubRequest& request, const HttpResponse& response) const;

 private:
  HttpResponse try_until_final(HttpRequest& request, bool authorized, Repeat repeat, Patience& patience);
  HttpResponse follow(HttpRequest request, bool authorized, Repeat repeat, Patience& patience);
  void sleep(double seconds, Patience& patience, const std::string& why) const;
  void note_warnings(const HttpResponse& response);
  struct Quota {
    std::optional<RateLimit> limit;  // as the hub told it last,
    double told_at = 0;              // at this time
  };
  Quota& quota_of(const HttpRequest& request);
  void note_rate_limit(const HttpResponse& response, Quota& quota);
  void pace(Quota& quota, Patience& patience);
  std::string current_token();

  SessionSettings settings_;
  HttpClient& client_;
  mutable std::mutex mutex_;  // guards what follows and the token
  std::vector<std::string> warned_;
  Quota api_quota_, resolve_quota_;
};

// What an answer says went wrong, from its headers and body, in one line, escaped; may be empty.
std::string hub_message(const HttpResponse& response);

// What a refusal is about.
enum class Refusal : std::uint8_t { kNoRepo, kNoRevision, kNoEntry, kGated, kDisabled, kBadToken, kOther };
Refusal refusal_of(const HttpResponse& response);

// Whether a refusal is about room or money: that helps no token and no smaller request.
bool is_about_quota(std::string_view message);

// URLs of the public Hub, which a mirror hands out unchanged, led to the endpoint instead.
std::string at_endpoint(const std::string& url, const std::string& endpoint);

// The value parsed, or kRemote "an answer that makes no sense".
JsonValue parse_answer(const HttpResponse& response, std::string_view what);

}  // namespace mu
