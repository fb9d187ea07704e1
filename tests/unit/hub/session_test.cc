// SPDX-License-Identifier: Apache-2.0
#include "hub/session.h"

#include <doctest/doctest.h>

#include "hub/api.h"

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
  CHECK(hub_message(answer(500, {}, "{\"error\": tru")) == "(its answer is not JSON)");
}

TEST_CASE("hub errors: of long bodies the message is found, and shortened") {
  const std::string padding(70'000, ' ');
  CHECK(hub_message(answer(403, {}, R"({"error": "no \"room\"", "help": ")" + padding)) == "no \"room\"");
  CHECK(hub_message(answer(403, {}, R"({"detail":{"message":"no)" + std::string(70'000, 'x'))).size() < 1000);
  CHECK(hub_message(answer(403, {}, std::string(70'000, 'x'))).size() < 1000);
  CHECK(hub_message(answer(403, {}, "[" + std::string(60'000, '['))) == "(its answer is not JSON)");
  std::string many = "[\"0\"";
  for (int i = 1; i < 9'000; ++i) many += ",\"" + std::to_string(i) + "\"";
  CHECK(hub_message(answer(403, {}, many + "]")) == "0; 1; 2; 3; 4; 5; 6; 7");
  const std::string shown = hub_message(answer(403, {}, "\x1b[2Ja\xE2\x80\xAE"));
  CHECK(shown.find('\x1b') == std::string::npos);
  CHECK(shown.find("\xE2\x80\xAE") == std::string::npos);
}

TEST_CASE("hub errors: lack of room or money is not a lack of rights") {
  for (const char* text :
       {"Private repository storage limit reached, please upgrade", "Storage quota exceeded",
        "You are out of storage", "Payment Required", "Enable billing to go on"})
    CHECK(is_about_quota(text));
  for (const char* text : {"", "Forbidden", "You need write access to push", "pass create_pr=1",
                           "files larger than 10 MiB must be in LFS storage"})
    CHECK_FALSE(is_about_quota(text));
}

TEST_CASE("hub: what a hub tells for a URL is one below its own address, or nothing") {
  struct Row {
    const char *told, *endpoint, *url;
  };
  const char* hub = "https://hub.example";
  const char* below = "http://127.0.0.1:8080/hf";
  for (const Row& row : {Row{"https://hub.example/a/x/commit/1", hub, "https://hub.example/a/x/commit/1"},
                         Row{"https://huggingface.co/a/x", hub, "https://hub.example/a/x"},
                         Row{"models/a/x", hub, "https://hub.example/models/a/x"},
                         Row{"/a/x", below, "http://127.0.0.1:8080/hf/a/x"},
                         Row{"/hf/a/x", below, "http://127.0.0.1:8080/hf/a/x"},
                         Row{"a/x?b=1:2", hub, "https://hub.example/a/x?b=1:2"},
                         Row{"", hub, ""},
                         Row{"https://hub.example", hub, ""},
                         Row{"https://hub.example.evil/x", hub, ""},
                         Row{"https://hub.example@evil/x", hub, ""},
                         Row{"http://hub.example/x", hub, ""},
                         Row{"//evil.example/x", hub, ""},
                         Row{"javascript:alert(1)", hub, ""},
                         Row{"file:///etc/passwd", hub, ""},
                         Row{"a/../../x", hub, ""},
                         Row{"a b", hub, ""},
                         Row{"a\n", hub, ""},
                         Row{"\x1b[2J", hub, ""},
                         Row{"a/\xE2\x80\xAE", hub, ""},
                         Row{"a\\b", hub, ""},
                         Row{"a/<x>", hub, ""}}) {
    CAPTURE(row.told);
    CHECK(hub_url(row.told, row.endpoint) == row.url);
  }
  CHECK(hub_url(std::string(3000, 'a'), hub).empty());
}

TEST_CASE("hub: links and redirects stay with http and https, and never leave encryption") {
  HttpClient client({});
  const auto led = [&](const std::string& from, const std::string& to, bool insecure = false) -> std::string {
    SessionSettings settings;
    settings.endpoint = "https://hub.example";
    settings.insecure_http = insecure;
    try {
      return HubSession(std::move(settings), client).led_to(from, to);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kRemote);
      return "";
    }
  };
  CHECK(led("https://hub.example", "https://s3.example/x?a=b") == "https://s3.example/x?a=b");
  CHECK(led("https://hub.example/a/b", "c") == "https://hub.example/a/c");
  CHECK(led("https://hub.example", "http://s3.example/x").empty());
  CHECK(led("https://hub.example", "HTTP://127.0.0.1/x").empty());
  CHECK(led("https://hub.example", "http://s3.example/x", true) == "http://s3.example/x");
  CHECK(led("http://127.0.0.1:1", "http://127.0.0.1:2/x") == "http://127.0.0.1:2/x");
  CHECK(led("http://127.0.0.1:1", "https://s3.example/x") == "https://s3.example/x");
  for (const char* wrong : {"file:///etc/passwd", "ftp://x/y", "https://a:b@x/", "https:///x", "https://x y/",
                            "https://x:99999/", "gopher://x", "https://\xE2\x80\xAE.example/"})
    CHECK(led("https://hub.example", wrong, true).empty());
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

TEST_CASE("hub: who names the public Hub while a mirror is in force stays there") {
  HttpClient client({});
  SessionSettings settings;
  settings.endpoint = "https://mirror.example";
  const HubSession session(std::move(settings), client);
  CHECK(session.led_to("https://huggingface.co/a/b", "/c") == "https://huggingface.co/c");
  CHECK(session.led_to("https://mirror.example/a/b", "https://huggingface.co/c") ==
        "https://mirror.example/c");
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
