// SPDX-License-Identifier: Apache-2.0
// A program's connection to a hub: client, rate limit, and session with its token, made of options and of the
// environment (HF_ENDPOINT, HF_TOKEN, …, identity tokens of CI).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "hub/session.h"
#include "net/http.h"
#include "net/retry.h"

namespace mu {

struct ConnectionOptions {
  std::string user_agent;              // "hub-push/1.0"
  std::string endpoint;                // as parse_endpoint() or hub_endpoint() gives it
  std::optional<std::uint64_t> rate;   // bytes to send a second at most, over all threads
  std::optional<unsigned> timeout_s;   // for a transfer that stalls
  std::optional<unsigned> max_wait_s;  // for one request, over all its tries
  bool insecure_http = false;
  std::function<void(const std::string&)> warn;  // called with warnings of the hub and with long waits
  std::function<void(const std::string&)>
      trace;  // called with requests and answers, secrets masked; may be empty
};

class HubConnection {
 public:
  // Throws as HubSession and exchange_oidc do.
  explicit HubConnection(const ConnectionOptions& options);

  HubSession& session() { return session_; }

 private:
  std::optional<RateBucket> bucket_;
  HttpClient client_;
  HubSession session_;
};

}  // namespace mu
