// SPDX-License-Identifier: Apache-2.0
#include "net/url.h"

#include <doctest/doctest.h>

#include "base/error.h"

using namespace mu;

TEST_CASE("url: parts, defaults, and what is refused") {
  const Url url = parse_url("HTTPS://Hub.Example:8443/a/b?c=d#e");
  CHECK(url.scheme == "https");
  CHECK(url.host == "hub.example");
  CHECK(url.port == 8443);
  CHECK(url.target == "/a/b?c=d");
  CHECK(parse_url("http://h").target == "/");
  CHECK(parse_url("http://[::1]:80/x").host == "[::1]");
  for (const char* wrong :
       {"ftp://h/", "h/x", "https://", "https://user@h/", "http://h:0/", "http://h:99999/", "http://h:8x/",
        "http://h/a b", "http://h/\n", "file:///etc/passwd"})
    CHECK_THROWS_AS(parse_url(wrong), Error);
}

TEST_CASE("url: origins are scheme, host and port") {
  CHECK(same_origin("https://h/a", "https://H:443/b"));
  CHECK(same_origin("http://h:80", "http://h/x"));
  CHECK_FALSE(same_origin("https://h", "http://h"));
  CHECK_FALSE(same_origin("https://h", "https://h:444"));
  CHECK_FALSE(same_origin("https://h.example", "https://h.example.org"));
}

TEST_CASE("url: loopback is a written address, not a name that looks like one") {
  for (const char* near : {"http://localhost/", "http://127.0.0.1:80/", "http://127.9.9.9/", "http://[::1]/"})
    CHECK(is_loopback(parse_url(near)));
  for (const char* far : {"http://127.0.0.1.example.org/", "http://localhost.example.org/",
                          "http://10.0.0.1/", "http://1127.0.0.1/", "http://[::2]/", "http://127.0.0/"})
    CHECK_FALSE(is_loopback(parse_url(far)));
}

TEST_CASE("url: every byte that is not unreserved is quoted, once") {
  CHECK(percent_encode("refs/pr/1") == "refs%2Fpr%2F1");
  CHECK(percent_encode("a-z_.~09") == "a-z_.~09");
  CHECK(percent_encode_path("a b/\xC3\xA9%") == "a%20b/%C3%A9%25");
}

TEST_CASE("url: where a Location leads") {
  CHECK(resolve_location("https://h:1/a/b?c", "/x?y") == "https://h:1/x?y");
  CHECK(resolve_location("https://h/a/b?c", "x") == "https://h/a/x");
  CHECK(resolve_location("https://h/a", "http://other/x") == "http://other/x");
  CHECK(resolve_location("https://h/a", "//other/x") == "https://other/x");
}

TEST_CASE("url: queries are secrets") {
  CHECK(printable_url("https://s/x?sig=abc") == "https://s/x?…");
  CHECK(printable_url("https://s/x") == "https://s/x");
  CHECK(printable_url("https://ada:secret@s/x") == "https://…@s/x");
  CHECK(printable_url("https://ada:sec@ret@s?y") == "https://…@s?…");
  CHECK(printable_url("https://s/ada@x") == "https://s/ada@x");
}
