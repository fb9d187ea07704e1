// SPDX-License-Identifier: Apache-2.0
// When to try again: pure functions from an answer to a wait. Clocks and dice are the caller's, so that tests
// don't wait. Sources: the Hub's rate limit headers (draft-ietf-httpapi-ratelimit-headers), RFC 9110 10.2.3
// (Retry-After), "equal jitter" (AWS Architecture Blog, Exponential Backoff And Jitter, 2015).
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string_view>

#include "net/http.h"

namespace mu {

// `RateLimit: "api";r=812;t=143`: requests left, and seconds until there are more.
struct RateLimit {
  std::uint64_t remaining = 0;
  std::uint64_t reset_s = 0;
};
std::optional<RateLimit> parse_rate_limit(std::string_view header);

// How many seconds to wait before the next request, `age` seconds after a server reported this limit. If no
// request is left: until the window ends, since the request would be refused. If few are left: an equal slice
// of the rest of the window, at most two seconds, since others use the same quota. Else 0.
double pace_wait(const RateLimit& limit, double age);

// A date of HTTP (IMF-fixdate) in Unix seconds.
std::optional<double> parse_http_date(std::string_view text);

// Seconds from a Retry-After header: a number, or a date counted from `now` (Unix seconds).
std::optional<double> parse_retry_after(std::string_view header, double now);

struct RetryWait {
  double seconds;       // the best wait
  double at_least = 0;  // what the server asks for: a shorter wait is useless
};
// Returns nothing if the answer is final: anything but 408, 429, 500, 502, 503, 504, and a 409 that says that
// another operation is in progress. `failed_tries` includes this one; `dice` is in [0, 1).
std::optional<RetryWait> wait_after(const HttpResponse& response, unsigned failed_tries, double now,
                                    double dice);
// Whether the same request may succeed later: after limits, locks, and failures of the server, except for
// what it can't do (501) or store (507).
bool may_pass(const HttpResponse& response);
// Whether an answer means that a repository is locked ("Another commit operation is in progress").
bool is_busy(const HttpResponse& response);
// The wait after an exchange without an answer.
RetryWait wait_after_failure(unsigned failed_tries, double dice);

// Limits bytes a second over all threads. take() returns how long to wait before sending so many bytes; a
// burst lasts a tenth of a second at most.
class RateBucket {
 public:
  explicit RateBucket(std::uint64_t bytes_per_second) : rate_(static_cast<double>(bytes_per_second)) {}
  double take(std::uint64_t bytes, double now);  // seconds; `now` in seconds of any steady clock

 private:
  std::mutex mutex_;
  double rate_;
  double free_at_ = 0;  // when everything taken so far has gone out
};

}  // namespace mu
