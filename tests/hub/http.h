// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 by cpp-httplib, reduced to a function from request to answer, and a wire that can be slowed, cut
// and reset. cpp-httplib is seen in http.cc alone. Its limits are worked around there: routing is ours, on
// the raw target; ranges are ours; the backlog is raised; forms are read as plain bodies.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "blob.h"

namespace hub {

using Headers = std::vector<std::pair<std::string, std::string>>;
const std::string* find_header(const Headers& headers, std::string_view name);  // any case; null: absent

// The connection a request came on.
class Wire {
 public:
  virtual ~Wire() = default;
  // The body of the request is read no further than so many bytes; then the connection is reset.
  virtual void cut_request_after(std::uint64_t body_bytes) = 0;
  // The answer's head is sent, so many bytes of its body, and then the connection is closed.
  virtual void cut_answer_after(std::uint64_t body_bytes) = 0;
  virtual void reset() = 0;  // at once, nothing is answered
  virtual void read_slowly(std::uint64_t bytes_per_second) = 0;
  virtual void write_slowly(std::uint64_t bytes_per_second) = 0;
  // Waits that long, or until the peer has gone away.
  virtual void wait(std::chrono::milliseconds time) = 0;
  [[nodiscard]] virtual std::uint64_t id() const = 0;  // of the connection
};

struct Request {
  std::string method, target;  // as they were sent
  Headers headers;
  Wire* wire = nullptr;
  std::string body;              // see read_whole
  std::uint64_t body_bytes = 0;  // read so far
  bool body_done = false;
  bool broken = false;  // the connection broke while the body was read

  using Sink = std::function<bool(std::span<const std::byte>)>;
  std::function<bool(const Sink&)> body_reader;  // false: the connection broke, or the sink said stop

  [[nodiscard]] const std::string* header(std::string_view name) const { return find_header(headers, name); }
  [[nodiscard]] std::optional<std::uint64_t> content_length() const;
  [[nodiscard]] bool is_chunked() const;
  // Reads the body to its end. False when the connection broke.
  bool read(const Sink& sink);
  bool read_whole();  // into `body`
};

struct Answer {
  int status = 200;
  std::string body;
  Headers headers;      // Content-Type among them
  BlobPointer content;  // instead of body: `length` bytes from `offset`
  std::uint64_t offset = 0, length = 0;

  Answer& with(std::string name, std::string value) {
    headers.emplace_back(std::move(name), std::move(value));
    return *this;
  }
  void replace(std::string_view name, std::string value);
};

using Handler = std::function<Answer(Request&)>;

class HttpServer {
 public:
  // Listens; port 0 takes a free one. Throws mu::Error kIo.
  HttpServer(const std::string& host, int port, Handler handler);
  ~HttpServer();
  [[nodiscard]] int port() const;
  // Serves in threads of its own from here on, until the process ends.
  void start();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hub
