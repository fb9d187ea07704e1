// SPDX-License-Identifier: Apache-2.0
#include "hub/session.h"

#include <doctest/doctest.h>

using namespace mu;

namespace {

HttpResponse answer(int status, std::vector<HttpHeader> headers, std::string body) {
  return {status, std::move(headers), std::move(body)};
}

}  // namespace

TEST_CASE("hub errors: the message is found wherever servers put it, once, on one line") {
  CHECK(hub_message(answer(400, {}, R"({"error":"no"})")) == "no");
  CHECK(hub_message(answer(400, {}, R"({"error":["a","b"]})")) == "a; b");
  CHECK(hub_message(answer(400, {}, R"({"error":"bad","error_description":"worse"})")) == "bad; worse");
  CHECK(hub_message(answer(400, {}, R"({"errors":[{"message":"m"}]})")) == "m");
  CHECK(hub_message(answer(400, {}, R"({"detail":{"error":"e","message":"m"}})")) == "e; m");
  CHECK(hub_message(answer(404, {{"x-error-message", "m"}}, R"({"error":"m"})")) == "m");
  CHECK(hub_message(answer(
            400, {},
            "<?xml version=\"1.0\"?><Error><Code>TooSmall</Code><Message>Your part</Message></Error>")) ==
        "TooSmall; Your part");
  CHECK(hub_message(answer(502, {}, "<html>Bad gateway</html>")).empty());
  CHECK(hub_message(answer(500, {}, "a\nb")) == "a\\nb");
  CHECK(hub_message(answer(500, {}, "{\"error\": tru")) == "(its answer is no JSON)");
}

TEST_CASE("hub errors: what a refusal is about") {
  const auto about = [](int status, const char* code, const char* message, std::string body = "") {
    std::vector<HttpHeader> headers;
    if (*code != '\0') headers.push_back({"x-error-code", code});
    if (*message != '\0') headers.push_back({"x-error-message", message});
    return refusal_of({status, headers, std::move(body)});
  };
  CHECK(about(404, "RevisionNotFound", "") == Refusal::kNoRevision);
  CHECK(about(404, "EntryNotFound", "") == Refusal::kNoEntry);
  CHECK(about(403, "GatedRepo", "") == Refusal::kGated);
  CHECK(about(403, "", "Access to this resource is disabled.") == Refusal::kDisabled);
  CHECK(about(401, "", "Invalid credentials in Authorization header") == Refusal::kBadToken);
  CHECK(about(401, "RepoNotFound", "Invalid credentials in Authorization header") == Refusal::kBadToken);
  CHECK(about(401, "", "") == Refusal::kNoRepo);
  CHECK(about(404, "RepoNotFound", "") == Refusal::kNoRepo);
  CHECK(about(404, "", "") == Refusal::kOther);
}

TEST_CASE("hub: links to the public Hub lead to a mirror, links elsewhere stay") {
  CHECK(at_endpoint("https://huggingface.co/api/x?y", "http://mirror/hf") == "http://mirror/hf/api/x?y");
  CHECK(at_endpoint("https://huggingface.co.evil.example/x", "http://mirror") ==
        "https://huggingface.co.evil.example/x");
  CHECK(at_endpoint("https://s3.example/x", "http://mirror") == "https://s3.example/x");
  CHECK(at_endpoint("https://huggingface.co/x", "https://huggingface.co") == "https://huggingface.co/x");
}

TEST_CASE("hub: a token goes over plain http to this machine alone") {
  HttpClient client({});
  const auto open = [&](const std::string& endpoint, bool insecure) {
    SessionSettings settings;
    settings.endpoint = endpoint;
    settings.token = Token{"hf_secret", "test"};
    settings.insecure_http = insecure;
    return HubSession(std::move(settings), client).has_token();
  };
  CHECK(open("http://127.0.0.1:1", false));
  CHECK(open("https://hub.example", false));
  CHECK(open("http://hub.example", true));
  CHECK_THROWS_AS(open("http://hub.example", false), Error);
  CHECK_THROWS_AS(open("http://127.0.0.1.hub.example", false), Error);
}
