// SPDX-License-Identifier: Apache-2.0
#include "net/retry.h"

#include <doctest/doctest.h>

using namespace mu;

namespace {

HttpResponse answer(int status, std::vector<HttpHeader> headers = {}, std::string body = {}) {
  return {status, std::move(headers), std::move(body)};
}

}  // namespace

TEST_CASE("retry: only what may pass is tried again") {
  for (const int status : {408, 429, 500, 502, 503, 504}) CHECK(wait_after(answer(status), 1, 0, 0.5));
  for (const int status : {200, 201, 307, 400, 401, 403, 404, 409, 412, 413, 422, 501, 507})
    CHECK_FALSE(wait_after(answer(status), 1, 0, 0.5));
}

TEST_CASE("retry: a lock that another operation holds is waited for, other conflicts are final") {
  CHECK(wait_after(answer(409, {}, R"({"error":"Another commit operation is in progress"})"), 1, 0, 0.5));
  CHECK_FALSE(wait_after(answer(409, {}, R"({"error":"You already created this model repo"})"), 1, 0, 0.5));
}

TEST_CASE("retry: waits double, never beyond half a minute, and are never nothing") {
  double bound = 0;
  for (unsigned failed = 1; failed <= 12; ++failed) {
    const double longest = wait_after_failure(failed, 0.999999).seconds;
    CHECK(longest >= bound);
    CHECK(longest <= 30);
    CHECK(wait_after_failure(failed, 0).seconds == doctest::Approx(longest / 2).epsilon(0.01));
    bound = longest;
  }
  CHECK(wait_after_failure(3, 0.5).seconds == doctest::Approx(2 * wait_after_failure(2, 0.5).seconds));
  CHECK(bound > 29);
}

TEST_CASE("retry: a quota tells when it ends, and less is no use") {
  const auto wait = [](const HttpResponse& response) {
    const std::optional<RetryWait> result = wait_after(response, 1, 1'000'000'000, 0.5);
    REQUIRE(result);
    CHECK((result->at_least == result->seconds || result->at_least == 0));
    return result->seconds;
  };
  CHECK(wait(answer(429, {{"ratelimit", "\"api\";r=0;t=143"}})) == 144);
  // Quotas of actions are not told by the rate limit: others are left in it.
  CHECK(wait(answer(429, {{"ratelimit", "\"api\"; r=12; t=143"}, {"retry-after", "7"}})) == 8);
  CHECK(wait(answer(429, {{"retry-after", "Sun, 09 Sep 2001 01:46:45 GMT"}})) == 6);
  CHECK(wait(answer(429, {}, "limit of 128 per hour, retry in about 2 hours")) == 7200);
  CHECK(wait(answer(429, {}, "You have been limited; retry in about 5 minutes.")) == 300);
  CHECK(wait(answer(429)) == 60);
  CHECK(wait(answer(429, {{"ratelimit", "r=0;t=99999999999"}})) == 60);
  CHECK(wait(answer(429, {{"retry-after", "soon"}})) == 60);
}

TEST_CASE("retry: requests slow down before a quota is used up, and stop while nothing is left") {
  struct Row {
    RateLimit limit;
    double age, seconds;
  };
  for (const Row& row : {Row{{812, 143}, 0, 0}, Row{{10, 143}, 0, 0}, Row{{9, 9}, 0, 1}, Row{{9, 300}, 0, 2},
                         Row{{2, 3}, 1, 1}, Row{{1, 3}, 4, 0}, Row{{0, 30}, 0, 31}, Row{{0, 30}, 20, 11},
                         Row{{0, 30}, 31, 0}, Row{{0, 0}, 0, 1}, Row{{0, 30}, -5, 31}}) {
    CAPTURE(row.limit.remaining);
    CAPTURE(row.age);
    CHECK(pace_wait(row.limit, row.age) == doctest::Approx(row.seconds));
  }
}

TEST_CASE("retry: Retry-After is never gone below, and our own backoff stays where it is longer") {
  const std::optional<RetryWait> wait = wait_after(answer(503, {{"retry-after", "3"}}), 1, 0, 0.5);
  REQUIRE(wait);
  CHECK(wait->seconds == 3);
  CHECK(wait->at_least == 3);
  const std::optional<RetryWait> later = wait_after(answer(503, {{"retry-after", "0"}}), 8, 0, 0.5);
  REQUIRE(later);
  CHECK(later->seconds > 10);
  CHECK(later->at_least == 0);
  CHECK(wait_after(answer(429), 1, 0, 0.5)->at_least == 0);  // 60 s are our guess
}

TEST_CASE("retry: dates in the past are no wait") {
  CHECK(parse_retry_after("Sun, 09 Sep 2001 01:46:40 GMT", 1'000'000'100) == 0);
  CHECK_FALSE(parse_retry_after("-1", 0));
  CHECK_FALSE(parse_retry_after("", 0));
}

TEST_CASE("rate bucket: as many bytes a second as asked for, whatever the pieces") {
  for (const std::uint64_t piece : {1'000U, 16'384U, 1'000'000U}) {
    RateBucket bucket(1'000'000);
    double now = 50;
    std::uint64_t sent = 0;
    while (sent < 20'000'000) {
      now += bucket.take(piece, now);
      sent += piece;
    }
    CHECK(now - 50 == doctest::Approx(20).epsilon(0.05));
  }
}

TEST_CASE("rate bucket: a pause is not made up for by a burst") {
  RateBucket bucket(1000);
  CHECK(bucket.take(100, 0) == doctest::Approx(0));
  double now = 1000;
  double waited = 0;
  for (int i = 0; i < 10; ++i) {
    const double wait = bucket.take(1000, now);
    waited += wait;
    now += wait;
  }
  CHECK(waited > 9.5);
}
