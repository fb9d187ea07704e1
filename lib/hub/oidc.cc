// SPDX-License-Identifier: Apache-2.0
#include "hub/oidc.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json_write.h"
#include "hub/session.h"
#include "net/url.h"

namespace mu {
namespace {

std::string identity_token(HubSession& session) {
  if (std::string set = environment("HF_OIDC_ID_TOKEN"); !set.empty()) return set;
  const std::string service = environment("ACTIONS_ID_TOKEN_REQUEST_URL");
  const std::string secret = environment("ACTIONS_ID_TOKEN_REQUEST_TOKEN");
  if (service.empty() || secret.empty())
    throw Error(ErrorKind::kRemote, "HF_OIDC_RESOURCE is set, but there is no identity token")
        .hint("set HF_OIDC_ID_TOKEN; on GitHub Actions the job needs the permission id-token: write");
  HttpRequest request;
  request.url = service + (service.find('?') == std::string::npos ? "?" : "&") +
                "audience=" + percent_encode(session.endpoint());
  request.headers.push_back({"Authorization", "Bearer " + secret});
  request.timeout_s = 60;
  const HttpResponse response = session.send_url(std::move(request), false);
  if (!response.ok())
    throw Error(may_pass(response) ? ErrorKind::kTemporary : ErrorKind::kRemote,
                fmt::format("the CI's token service answers {}", response.status));
  const JsonValue answer = parse_answer(response, "get an identity token");
  const std::string* value = answer.find_string("value");
  if (value == nullptr) throw Error(ErrorKind::kRemote, "the CI's token service returned no token");
  return *value;
}

}  // namespace

bool wants_oidc() {
  return !environment("HF_OIDC_RESOURCE").empty();
}

Token exchange_oidc(HubSession& session) {
  std::string body;
  JsonWriter json(body, 0);
  json.begin_object().member("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
  json.member("subject_token_type", "urn:ietf:params:oauth:token-type:id_token");
  json.member("subject_token", identity_token(session));
  json.member("resource", environment("HF_OIDC_RESOURCE")).end_object();
  HttpRequest request;
  request.method = "POST";
  request.url = session.endpoint() + "/oauth/token";
  request.headers.push_back({"Content-Type", "application/json"});
  request.body = text_body(std::move(body));
  request.timeout_s = 60;
  const HttpResponse response = session.send_url(std::move(request), false);
  if (!response.ok())
    throw Error(may_pass(response) ? ErrorKind::kTemporary : ErrorKind::kRemote,
                fmt::format("the hub refuses a token for this identity: {} {}", response.status,
                            hub_message(response)))
        .hint("check that the repository is set up for trusted publishing from here");
  const JsonValue answer = parse_answer(response, "exchange the identity token");
  const std::string* token = answer.find_string("access_token");
  const bool sound = token != nullptr && !token->empty() &&
                     std::all_of(token->begin(), token->end(), [](char c) { return c > ' ' && c < 0x7F; });
  if (!sound) throw Error(ErrorKind::kRemote, "the hub's answer contains no token");
  const double lives = static_cast<double>(answer.find_u64("expires_in").value_or(0));
  return {*token, "HF_OIDC_RESOURCE", lives > 0 ? SessionClock::real().now() + lives : 0};
}

}  // namespace mu
