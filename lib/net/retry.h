// SPDX-License-Identifier: Apache-2.0
// When to try again. A pure function from an answer to a wait; clocks and dice are the caller's, so that
// tests need no time. Sources: the Hub's rate limit headers (draft-ietf-httpapi-ratelimit-headers), RFC
// 9110 10.2.3 (Retry-After), "equal jitter" (AWS Architecture Blog, Exponential Backoff And Jitter, 2015).
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

// How long to wait before the next request, `age` seconds after a server told this limit: until the window
// ends when nothing is left, which saves a request that can only be refused; a share of the rest of it, at
// most two seconds, when few are left, for others use the same quota; else nothing.
double pace_wait(const RateLimit& limit, double age);

// Seconds from a Retry-After header: a number, or a date (IMF-fixdate) counted from `now` (Unix seconds).
std::optional<double> parse_retry_after(std::string_view header, double now);

struct RetryWait {
  double seconds;       // what is best
  double at_least = 0;  // what the server asks for: less is no use
};
// Nothing when the answer is final: anything but 408, 429, 500, 502, 503, 504, and a 409 that says that
// another operation is in progress. `failed_tries` counts this one too; `dice` lies in [0, 1).
std::optional<RetryWait> wait_after(const HttpResponse& response, unsigned failed_tries, double now,
                                    double dice);
// Whether a refusal may be gone when the same is tried later: limits, locks, and failures of the server but
// what it can't do (501) and no room (507), which waiting does not help.
bool may_pass(const HttpResponse& response);
// "Another commit operation is in progress", as a lock on a repository is told.
bool is_busy(const HttpResponse& response);
// After an exchange without an answer.
RetryWait wait_after_failure(unsigned failed_tries, double dice);

// Bytes a second over all threads. take() tells how long to wait before sending so many bytes; bursts are as
// long as a tenth of a second.
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
