// SPDX-License-Identifier: Apache-2.0
// Ranges over a socket of this machine: a server that sends texts that were written down before.
#include "net/http.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <atomic>
#include <thread>
#include <vector>

#include "os/file.h"
#include "testing.h"
#include "variables.h"

using namespace mu;
using namespace mu::testing;

namespace {

// Gives the n-th answer to the n-th request, and closes the connection after those that are cut.
class CannedServer {
 public:
  struct Answer {
    std::string text;
    bool is_cut = false;
  };
  explicit CannedServer(std::vector<Answer> answers) : answers_(std::move(answers)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(listener_.get(), 8) == 0);
    REQUIRE(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    url = fmt::format("http://127.0.0.1:{}/x", ntohs(address.sin_port));
    thread_ = std::thread([this] { serve(); });
  }
  CannedServer(const CannedServer&) = delete;
  CannedServer& operator=(const CannedServer&) = delete;
  ~CannedServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }

  std::string url;
  std::atomic<unsigned> connections = 0;

 private:
  void serve() {
    for (std::size_t next = 0; next < answers_.size();) {
      const Fd peer(::accept(listener_.get(), nullptr, nullptr));
      if (peer.get() < 0) return;
      ++connections;
      while (next < answers_.size() && read_request(peer.get())) {
        const Answer& answer = answers_[next++];
        if (::send(peer.get(), answer.text.data(), answer.text.size(), MSG_NOSIGNAL) < 0 || answer.is_cut)
          break;
      }
    }
  }
  static bool read_request(int fd) {
    std::string head;
    char byte = 0;
    while (!head.ends_with("\r\n\r\n")) {
      if (::recv(fd, &byte, 1, 0) != 1) return false;
      head += byte;
    }
    return true;
  }

  std::vector<Answer> answers_;
  const Variables no_proxy_{std::map<std::string, const char*>()};
  Fd listener_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  std::thread thread_;
};

std::string range_of(std::string_view bytes, std::size_t announced) {
  return fmt::format(
      "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes 0-{}/1000\r\n\r\n{}",
      announced, announced - 1, bytes);
}

HttpRequest request_of(const CannedServer& server, std::string& into) {
  HttpRequest request;
  request.url = server.url;
  request.into = std::as_writable_bytes(std::span(into));
  request.max_answer = 0;
  return request;
}

}  // namespace

TEST_CASE("http: a range goes to the caller's buffer, over one connection, at the pace that is set") {
  const std::string bytes(300, 'x');
  CannedServer server({{range_of(bytes, 300)}, {range_of(bytes, 300)}});
  std::uint64_t paced = 0;
  HttpSettings settings;
  settings.pace = [&paced](std::uint64_t count) { paced += count; };
  HttpClient client(settings);
  for (int i = 1; i <= 2; ++i) {
    std::string into(400, '-');
    const HttpResponse response = client.send(request_of(server, into));
    CHECK(response.status == 206);
    CHECK(response.received == 300);
    CHECK(response.torn.empty());
    CHECK(response.body.empty());
    CHECK(into == bytes + std::string(100, '-'));
    CHECK(paced == 300U * static_cast<unsigned>(i));
  }
  CHECK(server.connections == 1);
}

TEST_CASE("http: of a range that is cut, what came is known") {
  CannedServer server({{range_of("0123456789", 300), true}, {range_of("", 300), true}, {range_of("01", 2)}});
  HttpClient client({});
  for (const std::size_t came : {10U, 0U}) {
    std::string into(300, '-');
    const HttpResponse response = client.send(request_of(server, into));
    CHECK(response.status == 206);
    CHECK(response.received == came);
    CHECK_FALSE(response.torn.empty());
    CHECK(into.substr(0, came) == std::string("0123456789").substr(0, came));
  }
  std::string into(300, '-');
  CHECK(client.send(request_of(server, into)).torn.empty());
}

TEST_CASE("http: an answer that is cut among its headers has not come; trailers are none of them") {
  CannedServer server(
      {{"HTTP/1.1 206 Partial Content\r\nDate: now\r\n", true},
       {"HTTP/1.1 404 Not Found\r\n", true},
       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"}});
  HttpClient client({});
  std::string into(300, '-');
  for (int i = 0; i < 2; ++i)
    CHECK(error_of([&] { client.send(request_of(server, into)); }) == ErrorKind::kTemporary);
  HttpRequest request;
  request.url = server.url;
  CHECK(client.send(request).body == "ok");
}

TEST_CASE("http: more bytes than the buffer has are an error, and none is written behind it") {
  CannedServer server({{range_of(std::string(300, 'x'), 300)}});
  HttpClient client({});
  std::string into(300, '-');
  HttpRequest request = request_of(server, into);
  request.into = request.into.first(100);
  CHECK(error_of([&] { client.send(request); }) == ErrorKind::kRemote);
  CHECK(into.substr(100) == std::string(200, '-'));
}

TEST_CASE("http: a whole file instead of a range is not read") {
  const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\nETag: \"a\"\r\n\r\n";
  CannedServer server({{head + std::string(1'000, 'x'), true},
                       {head + std::string(1'000, 'x'), true},
                       {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole"}});
  HttpClient client({});
  std::string into(300, '-');
  HttpRequest request = request_of(server, into);
  for (const std::uint64_t wanted : {0U, 2'000U, 2'000U}) {
    request.max_answer = wanted;
    const HttpResponse response = client.send(request);
    CHECK(response.status == 200);
    if (response.body.empty())
      CHECK(*response.header("etag") == "\"a\"");
    else
      CHECK(response.body == "whole");
    CHECK(response.received == 0);
  }
  CHECK(into == std::string(300, '-'));
}
