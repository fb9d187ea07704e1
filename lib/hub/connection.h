// SPDX-License-Identifier: Apache-2.0
// A program's way to a hub: the client, its rate, the session with its token, made of options and of what the
// ecosystem keeps in the environment (HF_ENDPOINT, HF_TOKEN, …, identity tokens of CI).
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
  std::optional<std::uint64_t> rate;   // bytes a second sent, over all threads
  std::optional<unsigned> timeout_s;   // of a transfer that stands still
  std::optional<unsigned> max_wait_s;  // for one request that a server is not ready for
  bool insecure_http = false;
  std::function<void(const std::string&)> warn;   // what the hub warns of; waits that take long
  std::function<void(const std::string&)> trace;  // requests and answers, secrets masked; may be empty
};

class HubConnection {
 public:
  // Throws kUsage as HubSession does, and what asking for an identity token throws.
  explicit HubConnection(const ConnectionOptions& options);

  HubSession& session() { return session_; }

 private:
  std::optional<RateBucket> bucket_;
  HttpClient client_;
  HubSession session_;
};

}  // namespace mu
