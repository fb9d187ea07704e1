// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 by cpp-httplib, reduced to a function from request to answer, and a wire that can be slowed, cut
// and reset. cpp-httplib is seen in http.cc alone. Its limits are worked around there: routing is ours, on
// the raw target; ranges are ours; the backlog is raised; forms are read as plain bodies.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
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

// Lets so many bytes a second through, of all that share it: each waits for its turn. What was missed is made
// up for 10 ms, no longer.
class Pace {
 public:
  explicit Pace(std::uint64_t bytes_per_second) : rate_(bytes_per_second) {}
  void take(std::uint64_t bytes);

 private:
  const std::uint64_t rate_;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point next_{};  // when the bytes that come next may go
};

// The connection a request came on.
class Wire {
 public:
  virtual ~Wire() = default;
  // The body of the request is read no further than so many bytes; then the connection is reset.
  virtual void cut_request_after(std::uint64_t body_bytes) = 0;
  // The answer's head is sent, so many bytes of its body, and then this is called before more is sent.
  virtual void after_answer_bytes(std::uint64_t body_bytes, std::function<void()> act) = 0;
  virtual void reset() = 0;  // at once, nothing more is answered
  virtual void close() = 0;
  virtual void read_slowly(std::uint64_t bytes_per_second) = 0;
  virtual void write_slowly(std::uint64_t bytes_per_second) = 0;
  // Waits that long, or until the peer has gone away: then it returns false.
  virtual bool wait(std::chrono::milliseconds time) = 0;
  [[nodiscard]] virtual std::uint64_t id() const = 0;  // of the connection
  // Bytes of the answer's body that went out so far; it outlives the request.
  [[nodiscard]] virtual std::shared_ptr<const std::atomic<std::uint64_t>> sent() const = 0;
  // Requests that this port was busy with when this one came, with it.
  [[nodiscard]] virtual std::uint64_t in_flight() const = 0;
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
  std::function<void(std::uint64_t offset, std::span<std::byte>)>
      spoil;  // makes other bytes of the content's

  Answer& with(std::string name, std::string value) {
    headers.emplace_back(std::move(name), std::move(value));
    return *this;
  }
  void replace(std::string_view name, std::string value);
};

using Handler = std::function<Answer(Request&)>;

class HttpServer {
 public:
  // Listens; port 0 takes a free one. Content of answers goes at `pace`, unless it is null. Throws mu::Error kIo.
  HttpServer(const std::string& host, int port, Handler handler, std::shared_ptr<Pace> pace);
  ~HttpServer();
  [[nodiscard]] int port() const;
  // Serves in threads of its own from here on, until the process ends.
  void start();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hub
