// SPDX-License-Identifier: Apache-2.0
// One HTTP exchange at a time, on libcurl, which is loaded when the first request is made: programs that talk
// to no network never load it. Redirects, retries and tokens are the caller's business; this layer sends
// exactly what it is given to exactly where it is told.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

struct HttpHeader {
  std::string name, value;
};

// Bytes to send. They can be read from any offset as often as it takes, so that a request can be repeated.
struct HttpBody {
  std::uint64_t size = 0;
  std::function<void(std::uint64_t offset, std::span<std::byte> out)> read;
};
HttpBody text_body(std::string text);

constexpr std::uint64_t kMaxPage = 16ULL << 20;  // bytes of an answer that is read as a whole
constexpr std::size_t kMaxRefusal = 64U << 10;   // bytes kept of a redirect's or a refusal's body

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  std::vector<HttpHeader> headers;
  std::optional<HttpBody> body;         // sent with its length, never chunked
  unsigned timeout_s = 0;               // of the whole exchange; 0: none
  std::uint64_t max_answer = kMaxPage;  // bytes of a success; more is an error
  bool ranged = false;  // asks for a part: an answer of more than that is a server that ignores it
};

struct HttpResponse {
  int status = 0;
  std::vector<HttpHeader> headers;  // names in lower case
  std::string body;                 // of what is no success its first kMaxRefusal bytes

  [[nodiscard]] const std::string* header(std::string_view name) const;  // `name` in lower case; the first
  [[nodiscard]] bool ok() const { return status >= 200 && status < 300; }
};

struct HttpSettings {
  std::string user_agent;
  unsigned connect_timeout_s = 10;
  unsigned stall_s = 60;  // an exchange that moves less than a byte a second for so long is given up
  // Called before bytes of a body go out, from the thread that sends them; may wait (--limit-rate).
  std::function<void(std::uint64_t bytes)> pace;
  // Told a line a request and a line an answer, tokens and queries masked.
  std::function<void(const std::string& line)> trace;
};

// Safe to use from several threads; each exchange has a connection of its own, kept for the next.
// Proxies and CA bundles come from the environment (environment.h).
class HttpClient {
 public:
  explicit HttpClient(HttpSettings settings);
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  ~HttpClient();

  // Any answer is a result, whatever its status. Throws kTemporary when none came (no connection, cut,
  // stalled), kRemote when none can come (certificate not trusted, no such protocol) or one is too long,
  // kUsage for a header that would break its line, kIo for a CA bundle that can't be read, Interrupted within
  // a fifth of a second of a signal, and what reading the body threw.
  HttpResponse send(const HttpRequest& request);

 private:
  class Connection;
  std::unique_ptr<Connection> take_connection();

  HttpSettings settings_;
  std::mutex mutex_;  // guards idle_
  std::vector<std::unique_ptr<Connection>> idle_;
};

}  // namespace mu
