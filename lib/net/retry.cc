// SPDX-License-Identifier: Apache-2.0
#include "net/retry.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <string>

#include "base/decimal.h"
#include "base/text.h"

namespace mu {
namespace {

constexpr double kFirstBackoff = 0.5;   // seconds, doubled with each failure
constexpr double kLongestBackoff = 30;  // seconds
constexpr double kUnknownQuota = 60;    // seconds, if a server names no time

// "Equal jitter": half of the wait is certain, so that chance never makes it short.
double backoff(unsigned failed_tries, double dice) {
  return (1 + dice) / 2 *
         std::min(kLongestBackoff,
                  std::ldexp(kFirstBackoff, static_cast<int>(std::min(failed_tries, 10U)) - 1));
}

// "… retry in about 2 hours": the Hub says only in words how long a quota of commits lasts.
std::optional<double> wait_in_text(std::string_view text) {
  const std::size_t at = text.find("in about ");
  if (at == std::string_view::npos) return std::nullopt;
  std::string_view rest = text.substr(at + 9);
  const std::size_t blank = rest.find(' ');
  if (blank == std::string_view::npos) return std::nullopt;
  const std::optional<std::uint64_t> count = parse_decimal(rest.substr(0, blank));
  rest.remove_prefix(blank + 1);
  if (!count || *count > 1000) return std::nullopt;
  const double n = static_cast<double>(*count);
  if (rest.starts_with("hour")) return n * 3600;
  if (rest.starts_with("minute")) return n * 60;
  if (rest.starts_with("second")) return n;
  return std::nullopt;
}

std::optional<double> retry_after(const HttpResponse& response, double now) {
  const std::string* after = response.header("retry-after");
  return after == nullptr ? std::nullopt : parse_retry_after(*after, now);
}

// How long until a quota opens again, if the server says: its times are whole seconds, rounded down.
std::optional<double> quota_wait(const HttpResponse& response, double now) {
  const std::string* limit = response.header("ratelimit");
  const std::optional<RateLimit> rate = limit == nullptr ? std::nullopt : parse_rate_limit(*limit);
  if (rate && rate->remaining == 0) return static_cast<double>(rate->reset_s) + 1;
  if (const std::optional<double> seconds = retry_after(response, now)) return *seconds + 1;
  return wait_in_text(response.body);
}

}  // namespace

std::optional<RateLimit> parse_rate_limit(std::string_view header) {
  std::optional<std::uint64_t> remaining, reset;
  for (const std::string_view raw : split(header, ';')) {
    const std::string_view part = trim(raw);
    if (part.starts_with("r=")) remaining = parse_decimal(trim(part.substr(2)));
    if (part.starts_with("t=")) reset = parse_decimal(trim(part.substr(2)));
  }
  if (!remaining || !reset || *reset > 86400) return std::nullopt;
  return RateLimit{*remaining, *reset};
}

double pace_wait(const RateLimit& limit, double age) {
  constexpr std::uint64_t kFew = 10;      // requests
  constexpr double kLongestSpread = 2.0;  // seconds
  const double rest = static_cast<double>(limit.reset_s) - std::max(age, 0.0);
  if (rest < 0 || limit.remaining >= kFew) return 0;
  if (limit.remaining == 0) return rest + 1;  // times are whole seconds, rounded down
  return std::min(kLongestSpread, rest / static_cast<double>(limit.remaining));
}

std::optional<double> parse_http_date(std::string_view text) {
  std::tm when{};
  const std::string copy(text);
  const char* end = ::strptime(copy.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &when);
  if (end == nullptr || *end != '\0') return std::nullopt;
  return static_cast<double>(::timegm(&when));
}

std::optional<double> parse_retry_after(std::string_view header, double now) {
  const std::string_view text = trim(header);
  if (const std::optional<std::uint64_t> seconds = parse_decimal(text)) return static_cast<double>(*seconds);
  const std::optional<double> date = parse_http_date(text);
  return date ? std::optional(std::max(0.0, *date - now)) : std::nullopt;
}

std::optional<RetryWait> wait_after(const HttpResponse& response, unsigned failed_tries, double now,
                                    double dice) {
  const RetryWait guess = wait_after_failure(failed_tries, dice);
  switch (response.status) {
    case 429:
      if (const std::optional<double> asked = quota_wait(response, now)) return RetryWait{*asked, *asked};
      return RetryWait{std::max(guess.seconds, kUnknownQuota)};
    case 408:
    case 500:
    case 502:
    case 503:
    case 504: {
      const double asked = retry_after(response, now).value_or(0);
      return RetryWait{std::max(guess.seconds, asked), asked};
    }
    default:
      return is_busy(response) ? std::optional(guess) : std::nullopt;
  }
}

bool may_pass(const HttpResponse& response) {
  const int status = response.status;
  return status == 408 || status == 429 || is_busy(response) ||
         (status >= 500 && status != 501 && status != 507);
}

bool is_busy(const HttpResponse& response) {
  return response.status == 409 && response.body.find("in progress") != std::string::npos;
}

RetryWait wait_after_failure(unsigned failed_tries, double dice) {
  return {backoff(failed_tries, dice)};
}

double RateBucket::take(std::uint64_t bytes, double now) {
  constexpr double kBurst = 0.1;  // seconds
  const std::lock_guard<std::mutex> lock(mutex_);
  free_at_ = std::max(free_at_, now - kBurst) + static_cast<double>(bytes) / rate_;
  return std::max(0.0, free_at_ - now - kBurst);
}

}  // namespace mu
