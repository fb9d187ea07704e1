// SPDX-License-Identifier: Apache-2.0
// A connection is a thread, and cpp-httplib reads and writes it through Connection, which is where the wire
// is slowed, cut and reset. An answer given before the body was read closes the connection politely: the rest
// of the body is drained for a moment, or the kernel would reset it and the client lose the answer.
#include "http.h"

#include <httplib.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "codec.h"

namespace hub {

const std::string* find_header(const Headers& headers, std::string_view name) {
  for (const auto& [key, value] : headers)
    if (lower(key) == lower(name)) return &value;
  return nullptr;
}

std::optional<std::uint64_t> Request::content_length() const {
  const std::string* text = header("Content-Length");
  if (!text || text->empty() || text->size() > 18 ||
      text->find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  return std::stoull(*text);
}

bool Request::is_chunked() const {
  const std::string* coding = header("Transfer-Encoding");
  return coding && lower(*coding) == "chunked";
}

bool Request::read(const Sink& sink) {
  if (body_done) return true;
  if (!is_chunked() && content_length().value_or(0) == 0) return body_done = true;
  bool stopped = false;
  body_done = body_reader && body_reader([&](std::span<const std::byte> data) {
                body_bytes += data.size();
                stopped = !sink(data);
                return !stopped;
              });
  broken = !body_done && !stopped;
  return body_done;
}

bool Request::read_whole() {
  if (!is_chunked()) body.reserve(static_cast<std::size_t>(content_length().value_or(0)));
  return read([&](std::span<const std::byte> data) {
    body.append(reinterpret_cast<const char*>(data.data()), data.size());
    return true;
  });
}

void Answer::replace(std::string_view name, std::string value) {
  std::erase_if(headers, [&](const auto& header) { return lower(header.first) == lower(name); });
  with(std::string(name), std::move(value));
}

using Clock = std::chrono::steady_clock;

void Pace::take(std::uint64_t bytes) {
  Clock::time_point turn;
  {
    const std::lock_guard lock(mutex_);
    turn = std::max(next_, Clock::now() - std::chrono::milliseconds(10));
    next_ = turn + std::chrono::nanoseconds(bytes * 1'000'000'000 / rate_);
  }
  std::this_thread::sleep_until(turn);
}

namespace {

constexpr int kIdleMs = 600'000;
constexpr std::uint64_t kNever = ~std::uint64_t{0};
constexpr std::size_t kPiece = std::size_t{256} * 1024;
// What cpp-httplib is told to write when the bytes go from the content's file to the socket.
constexpr std::array<char, kPiece> kElsewhere{};

class Connection final : public httplib::Stream, public Wire {
 public:
  Connection(int fd, Pace* pace) : fd_(fd), id_(++counter_), pace_(pace) {
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() override { ::close(fd_); }

  // True when a further request has begun to arrive.
  bool await_request() {
    cut_request_ = until_act_ = kNever;
    read_rate_ = write_rate_ = 0;
    head_sent_ = false;
    sent_ = std::make_shared<std::atomic<std::uint64_t>>(0);
    return begin_ < end_ || ready(POLLIN, kIdleMs);
  }
  void body_begins(std::uint64_t in_flight) {
    body_read_ = 0;
    in_flight_ = in_flight;
  }
  [[nodiscard]] bool broken() const { return broken_; }
  void close_after_answer() { drain_ = true; }
  [[nodiscard]] bool draining() const { return drain_; }
  void finish() {
    if (broken_ || !drain_) return;
    ::shutdown(fd_, SHUT_WR);
    const Clock::time_point limit = Clock::now() + std::chrono::seconds(2);
    char rest[65536];
    while (Clock::now() < limit && ready(POLLIN, 200) && ::recv(fd_, rest, sizeof rest, 0) > 0) {
    }
  }

  // Stream
  bool is_readable() const override { return !broken_ && (begin_ < end_ || ready(POLLIN, kIdleMs)); }
  bool is_writable() const override { return !broken_ && ready(POLLOUT, kIdleMs); }
  ssize_t read(char* out, size_t size) override {
    const std::span<const char> piece = take(size);
    if (!piece.empty()) std::memcpy(out, piece.data(), piece.size());
    return piece.empty() ? -1 : static_cast<ssize_t>(piece.size());
  }
  // Some of the next `most` bytes, in the buffer until the next call. Empty: the connection broke.
  std::span<const char> take(std::uint64_t most) {
    if (broken_) return {};
    if (cut_request_ != kNever) {
      if (body_read_ >= cut_request_) return reset(), std::span<const char>();
      most = std::min(most, cut_request_ - body_read_);
    }
    if (begin_ == end_) {
      if (!ready(POLLIN, kIdleMs)) return {};
      const ssize_t n = ::recv(fd_, buffer_.data(), buffer_.size(), 0);
      if (n <= 0) return broken_ = true, std::span<const char>();
      begin_ = 0;
      end_ = static_cast<std::size_t>(n);
    }
    const std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(most, end_ - begin_));
    const std::span<const char> piece = std::span<const char>(buffer_).subspan(begin_, n);
    begin_ += n;
    body_read_ += n;
    if (read_rate_ > 0) slow_down(n, read_rate_);
    return piece;
  }
  // cpp-httplib writes the head of an answer in one go, then the body.
  ssize_t write(const char* data, size_t size) override {
    for (std::size_t done = 0; done < size && !broken_;) {
      if (head_sent_ && until_act_ == 0) {
        act();
        continue;
      }
      std::size_t piece = size - done;
      if (head_sent_) piece = static_cast<std::size_t>(std::min<std::uint64_t>(may_send(piece), until_act_));
      const ssize_t n = content_ ? content_->send(fd_, content_at_ + done, piece)
                                 : ::send(fd_, data + done, piece, MSG_NOSIGNAL);
      if (n <= 0) {
        broken_ = true;
        break;
      }
      done += static_cast<std::size_t>(n);
      if (head_sent_) went_out(static_cast<std::size_t>(n));
    }
    if (!is_interim(data, size)) head_sent_ = true;
    if (head_sent_ && until_act_ == 0 && !broken_) act();  // no more of the body may follow
    return broken_ ? -1 : static_cast<ssize_t>(size);
  }
  // Some of the answer's content.
  bool write_content(httplib::DataSink& sink, const Answer& answer, std::uint64_t at, std::size_t length) {
    const std::size_t size = std::min(length, kPiece);
    std::vector<std::byte> spoiled;
    paced_ = true;
    content_at_ = answer.offset + at;
    if (answer.spoil) {
      spoiled.resize(size);
      answer.content->read_at(content_at_, spoiled);
      answer.spoil(content_at_, spoiled);
    } else {
      content_ = answer.content.get();
    }
    const bool whole =
        sink.write(content_ ? kElsewhere.data() : reinterpret_cast<const char*>(spoiled.data()), size);
    content_ = nullptr;
    paced_ = false;
    return whole;
  }
  void get_remote_ip_and_port(std::string& ip, int& port) const override {
    ip = "127.0.0.1";
    port = 0;
  }
  void get_local_ip_and_port(std::string& ip, int& port) const override { get_remote_ip_and_port(ip, port); }
  socket_t socket() const override { return fd_; }

  // Wire
  void cut_request_after(std::uint64_t body_bytes) override { cut_request_ = body_bytes; }
  void after_answer_bytes(std::uint64_t body_bytes, std::function<void()> act) override {
    until_act_ = body_bytes;
    act_ = std::move(act);
  }
  void reset() override {
    const linger now{1, 0};  // closing sends RST
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    broken_ = true;
  }
  void close() override {
    ::shutdown(fd_, SHUT_RDWR);
    broken_ = true;
  }
  void read_slowly(std::uint64_t rate) override { read_rate_ = rate; }
  void write_slowly(std::uint64_t rate) override { write_rate_ = rate; }
  bool wait(std::chrono::milliseconds time) override {
    pollfd gone{fd_, POLLRDHUP, 0};
    return ::poll(&gone, 1, static_cast<int>(time.count())) == 0;
  }
  [[nodiscard]] std::uint64_t id() const override { return id_; }
  [[nodiscard]] std::shared_ptr<const std::atomic<std::uint64_t>> sent() const override { return sent_; }
  [[nodiscard]] std::uint64_t in_flight() const override { return in_flight_; }

 private:
  bool ready(short events, int timeout_ms) const {
    pollfd wanted{fd_, events, 0};
    return ::poll(&wanted, 1, timeout_ms) > 0;
  }
  static bool is_interim(const char* data, std::size_t size) {
    return std::string_view(data, size).starts_with("HTTP/1.1 100");
  }
  void slow_down(std::size_t bytes, std::uint64_t rate) {
    wait(std::chrono::milliseconds(bytes * 1000 / rate));
  }
  // How much of the body may go now, after waiting for it.
  std::size_t may_send(std::size_t most) {
    if (write_rate_) most = std::min<std::size_t>(most, 1024 + write_rate_ / 100);
    if (paced_ && pace_) pace_->take(most = std::min(most, kPiece));
    return most;
  }
  void went_out(std::size_t bytes) {
    *sent_ += bytes;
    if (until_act_ != kNever) until_act_ -= bytes;
    if (write_rate_) slow_down(bytes, write_rate_);
  }
  void act() {
    until_act_ = kNever;
    act_();
  }

  static inline std::atomic<std::uint64_t> counter_{0};
  int fd_;
  std::uint64_t id_;
  std::vector<char> buffer_ = std::vector<char>(kPiece);
  std::size_t begin_ = 0, end_ = 0;
  Pace* pace_;
  std::uint64_t cut_request_ = kNever, until_act_ = kNever, body_read_ = 0, in_flight_ = 0;
  std::function<void()> act_;
  std::uint64_t read_rate_ = 0, write_rate_ = 0;
  std::shared_ptr<std::atomic<std::uint64_t>> sent_;
  const Blob* content_ = nullptr;  // where bytes of the answer come from, if not from memory
  std::uint64_t content_at_ = 0;
  bool paced_ = false;
  bool broken_ = false, drain_ = false, head_sent_ = false;
};

thread_local Connection* current = nullptr;

struct ThreadPerConnection : httplib::TaskQueue {
  void enqueue(std::function<void()> work) override { std::thread(std::move(work)).detach(); }
  void shutdown() override {}
};

}  // namespace

struct HttpServer::Impl : httplib::Server {
  Impl(hub::Handler function, std::shared_ptr<Pace> shared)
      : handler(std::move(function)), pace(std::move(shared)) {
    new_task_queue = [] { return new ThreadPerConnection; };
    set_keep_alive_timeout(kIdleMs / 1000);
    set_keep_alive_max_count(1'000'000);
    const auto plain = [this](const httplib::Request& in, httplib::Response& out) {
      serve(in, out, nullptr);
    };
    const auto with_body = [this](const httplib::Request& in, httplib::Response& out,
                                  const httplib::ContentReader& reader) { serve(in, out, &reader); };
    Get("/", plain);  // and HEAD
    Options("/", plain);
    Post("/", with_body);
    Put("/", with_body);
    Patch("/", with_body);
    Delete("/", with_body);
  }

  void raise_backlog() { ::listen(svr_sock_, 1024); }  // its own, 5, loses connections under load

  bool process_and_close_socket(socket_t fd) override {
    Connection connection(fd, pace.get());
    current = &connection;
    bool closed = false;
    while (!closed && !connection.broken() && connection.await_request()) {
      bool begun = false;
      const auto prepare = [&](httplib::Request& request) {
        begun = true;
        connection.body_begins(++in_flight);
        accepts = request.headers;  // all headers as they came; some are taken away from cpp-httplib:
        request.path = "/";         // routing is ours
        request.ranges.clear();     // so are ranges
        request.headers.erase("Accept-Encoding");  // and nothing is compressed
      };
      const bool answered = process_request(connection, false, closed, prepare);
      if (begun) --in_flight;
      if (!answered || connection.draining()) break;
    }
    connection.finish();
    current = nullptr;
    return true;
  }

  void serve(const httplib::Request& in, httplib::Response& out, const httplib::ContentReader* reader) {
    Request request;
    request.method = in.method;
    request.target = in.target;
    request.headers.assign(accepts.begin(), accepts.end());
    request.wire = current;
    if (reader && request.is_chunked()) {
      request.body_reader = [reader](const Request::Sink& sink) {
        return (*reader)([&sink](const char* data, std::size_t size) {
          return sink({reinterpret_cast<const std::byte*>(data), size});
        });
      };
    } else if (reader) {
      // Past cpp-httplib, which would copy 4 KiB at a time.
      request.body_reader = [left = request.content_length().value_or(0)](const Request::Sink& sink) mutable {
        while (left > 0) {
          const std::span<const char> piece = current->take(left);
          if (piece.empty() || !sink(std::as_bytes(piece))) return false;
          left -= piece.size();
        }
        return true;
      };
    }
    Answer answer = handler(request);
    if (!request.body_done && (request.is_chunked() || request.content_length().value_or(0) > 0)) {
      answer.replace("Connection", "close");
      current->close_after_answer();
    }
    out.status = answer.status;
    std::string type = "text/plain";
    for (auto& [name, value] : answer.headers) {
      if (lower(name) == "content-type") {
        type = value;
      } else {
        out.set_header(name, value);
      }
    }
    if (!answer.content || answer.length == 0) return out.set_content(answer.body, type);
    out.set_content_provider(answer.length, type,
                             [answer](std::size_t at, std::size_t length, httplib::DataSink& sink) {
                               return current->write_content(sink, answer, at, length);
                             });
  }

  hub::Handler handler;
  std::shared_ptr<Pace> pace;
  std::atomic<std::uint64_t> in_flight = 0;
  int bound_port = 0;
  static inline thread_local httplib::Headers accepts;
};

HttpServer::HttpServer(const std::string& host, int port, Handler handler, std::shared_ptr<Pace> pace)
    : impl_(std::make_unique<Impl>(std::move(handler), std::move(pace))) {
  impl_->bound_port = port == 0 ? impl_->bind_to_any_port(host) : impl_->bind_to_port(host, port) ? port : -1;
  if (impl_->bound_port <= 0) throw mu::io_error("listen on port " + std::to_string(port), errno, host);
  impl_->raise_backlog();
}

HttpServer::~HttpServer() = default;

int HttpServer::port() const {
  return impl_->bound_port;
}

void HttpServer::start() {
  std::thread([server = impl_.get()] { server->listen_after_bind(); }).detach();
}

}  // namespace hub
