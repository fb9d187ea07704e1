// SPDX-License-Identifier: Apache-2.0
#include "hub/connection.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "hub/oidc.h"

namespace mu {
namespace {

HttpSettings http_settings(const ConnectionOptions& options, std::optional<RateBucket>& bucket) {
  HttpSettings http;
  http.user_agent = options.user_agent;
  if (const std::string more = environment("HF_HUB_USER_AGENT_ORIGIN"); !more.empty())
    http.user_agent += "; origin/" + more;
  if (options.timeout_s) http.stall_s = *options.timeout_s;
  if (options.rate) {
    bucket.emplace(std::max<std::uint64_t>(*options.rate, 1));
    http.pace = [&bucket](std::uint64_t bytes) {
      const auto now = std::chrono::steady_clock::now().time_since_epoch();
      const double wait = bucket->take(bytes, std::chrono::duration<double>(now).count());
      if (wait > 0) SessionClock::real().sleep(wait);
    };
  }
  http.trace = options.trace;
  return http;
}

SessionSettings session_settings(const ConnectionOptions& options, HttpClient& client) {
  SessionSettings session;
  session.endpoint = options.endpoint;
  session.insecure_http = options.insecure_http;
  if (options.max_wait_s) session.max_wait_s = *options.max_wait_s;
  session.warn = options.warn;
  if (wants_oidc()) {
    const auto nobody =
        std::make_shared<HubSession>(session, client);  // waits like any other, without a token
    session.renew = [nobody] { return exchange_oidc(*nobody); };
    session.token = session.renew();
  } else {
    session.token = find_token();
  }
  return session;
}

}  // namespace

HubConnection::HubConnection(const ConnectionOptions& options)
    : client_(http_settings(options, bucket_)), session_(session_settings(options, client_), client_) {}

}  // namespace mu
