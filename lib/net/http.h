// SPDX-License-Identifier: Apache-2.0
// HTTP exchanges on libcurl, which is loaded when the first request is made, so that programs without a
// network never load it. Redirects, retries and tokens are the caller's: this layer sends exactly what it is
// given, exactly where it is sent.
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

// Bytes to send. They can be read from any offset any number of times, so that a request can be repeated.
struct HttpBody {
  std::uint64_t size = 0;
  std::function<void(std::uint64_t offset, std::span<std::byte> out)> read;
};
HttpBody text_body(std::string text);

constexpr std::uint64_t kMaxPage = 16ULL << 20;  // bytes of an answer that is kept in memory
constexpr std::size_t kMaxRefusal = 64U << 10;   // bytes kept of the body of a redirect or refusal

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  std::vector<HttpHeader> headers;
  std::optional<HttpBody> body;         // sent with its length, never chunked
  unsigned timeout_s = 0;               // for the whole exchange; 0: unlimited
  std::uint64_t max_answer = kMaxPage;  // bytes of a success; more is an error
  // Asks for a range, and is where the body of the 206 goes, without a copy between. Of any other success no
  // more than max_answer bytes are read, and none of one that says that it is longer: nobody asked for them.
  std::span<std::byte> into{};
};

struct HttpResponse {
  int status = 0;
  std::vector<HttpHeader> headers;  // names in lower case
  std::string body;                 // without success only its first kMaxRefusal bytes
  std::uint64_t received = 0;       // bytes that went to HttpRequest::into
  std::string torn{};  // why no more of them came, although the exchange had not ended; empty: it had

  [[nodiscard]] const std::string* header(
      std::string_view name) const;  // the first one; `name` in lower case
  [[nodiscard]] bool ok() const { return status >= 200 && status < 300; }
};

struct HttpSettings {
  std::string user_agent;
  unsigned connect_timeout_s = 10;
  unsigned stall_s = 60;  // gives up an exchange that moves less than a byte a second for so long
  // Called before bytes of a body go out, or as those of a range come in, from the thread that moves them; may
  // wait (--limit-rate).
  std::function<void(std::uint64_t bytes)> pace;
  // Called with a line for each request and each answer, tokens and queries masked.
  std::function<void(const std::string& line)> trace;
};

// Thread safe: each exchange has a connection to itself, which is kept for the next one. Proxies come
// from the environment (environment.h), certificates to trust from there or the system (certificates.h).
class HttpClient {
 public:
  explicit HttpClient(HttpSettings settings);
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  ~HttpClient();

  // Returns any answer, whatever its status. Throws kTemporary if none came whole (no connection, cut, stalled);
  // of a range, what came is returned. Throws kRemote if none can come (certificate not trusted, unknown protocol) or it is too long, kUsage for a
  // header that contains a line break, kIo for certificates to trust that are missing or can't be read,
  // Interrupted within a fifth of a second of a signal, and what reading the body threw.
  HttpResponse send(const HttpRequest& request);

 private:
  class Connection;
  std::unique_ptr<Connection> take_connection(const std::string& origin);

  HttpSettings settings_;
  std::mutex mutex_;  // guards idle_
  std::vector<std::unique_ptr<Connection>> idle_;
};

}  // namespace mu
