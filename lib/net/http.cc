// SPDX-License-Identifier: Apache-2.0
// Each exchange runs on a multi handle of its own, which is polled for a fifth of a second at a time: that is
// the only way to notice a signal while a host name is looked up. An idle connection is kept for the next
// exchange; one whose exchange failed is closed. The callbacks of libcurl are C code on the stack, so an
// exception in one of them is kept and thrown again when libcurl has returned.
//
// The body of a range goes straight to the caller's buffer, and how far it came is known when it is torn.
//
// Answers have ceilings: headers of 256 KiB, max_answer bytes of a success, kMaxRefusal bytes of anything
// else, where the transfer simply ends. A server that refuses a body early closes the connection while we
// still send; its answer counts then, not the broken pipe. Which failures may pass (kTemporary) is one table,
// kind_of().
#include "net/http.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstring>
#include <exception>

#include "base/error.h"
#include "base/text.h"
#include "net/certificates.h"
#include "net/environment.h"
#include "net/libcurl.h"
#include "net/url.h"
#include "os/interrupt.h"

#undef curl_easy_setopt
#undef curl_easy_getinfo

namespace mu {
namespace {

constexpr long kSendBuffer = 1L << 20;  // bytes; 64 KiB, the default, costs a third of the speed on loopback
constexpr long kReceiveBuffer = 256L << 10;  // bytes, for ranges; 16 KiB, the default, means more calls
constexpr int kPollMs = 200;
constexpr std::size_t kMaxHeaders = 256U << 10;  // bytes of an answer's headers

// Headers whose values are never secret; others are masked in traces.
bool is_printable(std::string_view name) {
  constexpr std::string_view kNames[] = {"Accept", "Accept-Encoding", "Content-Type", "If-Range", "Range"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

bool has_control_characters(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 0x7F; });
}

// The last line of defence; whoever takes headers from outside checks them first and says better what is
// wrong.
void require_one_line(const HttpHeader& header) {
  if (has_control_characters(header.name) || has_control_characters(header.value))
    throw usage(fmt::format("the header {} would contain a line break or control character",
                            escape_name(header.name)));
}

class HeaderList {
 public:
  HeaderList() = default;
  HeaderList(const HeaderList&) = delete;
  HeaderList& operator=(const HeaderList&) = delete;
  ~HeaderList() { libcurl().slist_free_all(list_); }
  void add(const std::string& line) {
    curl_slist* longer = libcurl().slist_append(list_, line.c_str());
    if (longer == nullptr) throw std::bad_alloc();
    list_ = longer;
  }
  [[nodiscard]] curl_slist* get() const { return list_; }

 private:
  curl_slist* list_ = nullptr;
};

// kTemporary if another try may succeed, kIo if a local file is at fault; else kRemote.
ErrorKind kind_of(CURLcode code) {
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_WEIRD_SERVER_REPLY:
      return ErrorKind::kTemporary;
    case CURLE_SSL_CACERT_BADFILE:
      return ErrorKind::kIo;
    default:
      return ErrorKind::kRemote;
  }
}

}  // namespace

HttpBody text_body(std::string text) {
  const auto shared = std::make_shared<const std::string>(std::move(text));
  return {shared->size(), [shared](std::uint64_t offset, std::span<std::byte> out) {
            std::memcpy(out.data(), shared->data() + offset, out.size());
          }};
}

const std::string* HttpResponse::header(std::string_view name) const {
  const auto found = std::find_if(headers.begin(), headers.end(),
                                  [name](const HttpHeader& header) { return header.name == name; });
  return found == headers.end() ? nullptr : &found->value;
}

// A connection and the exchange that is on it.
class HttpClient::Connection {
 public:
  Connection() : easy_(libcurl().easy_init()), multi_(libcurl().multi_init()) {
    if (easy_ == nullptr || multi_ == nullptr) throw std::bad_alloc();
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    libcurl().easy_cleanup(easy_);
    libcurl().multi_cleanup(multi_);
  }

  // Where it last went: the next exchange with the same server needs no new connection.
  std::string peer;

  HttpResponse exchange(const HttpRequest& request, const HttpSettings& settings) {
    request_ = &request;
    settings_ = &settings;
    response_ = {};
    sent_ = header_bytes_ = 0;
    enough_ = headers_ended_ = false;
    fault_ = nullptr;
    libcurl().easy_reset(easy_);
    HeaderList headers;
    require_one_line({"User-Agent", settings.user_agent});
    for (const HttpHeader& header : request.headers) {
      require_one_line(header);
      headers.add(header.name + ": " + header.value);
    }
    headers.add("Expect:");  // no waiting for 100 Continue
    set_up(headers.get());
    const CURLcode code = perform();
    if (fault_) std::rethrow_exception(fault_);
    response_.status = static_cast<int>(status());
    // A server that refuses a body early closes while we still send: its answer counts, not the broken pipe.
    const bool answered_early =
        response_.status >= 400 && (code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR);
    if (code != CURLE_OK && !answered_early && !(enough_ && code == CURLE_WRITE_ERROR)) {
      const Error why = failure(code);
      if (!is_range() || !headers_ended_ || why.kind() != ErrorKind::kTemporary) throw why;
      response_.torn = why.what();
    } else if (code == CURLE_OK && !headers_ended_) {  // which is fine for libcurl
      throw Error(ErrorKind::kTemporary, fmt::format("{} {}: the answer ends among its headers",
                                                     request.method, origin(parse_url(request.url))));
    }
    return std::move(response_);
  }

 private:
  template <typename Value>
  void set(CURLoption option, Value value) {
    const CURLcode code = libcurl().easy_setopt(easy_, option, value);
    if (code != CURLE_OK && code != CURLE_UNKNOWN_OPTION && code != CURLE_NOT_BUILT_IN)
      throw Error(ErrorKind::kIo,
                  fmt::format("libcurl refuses a setting: {}", libcurl().easy_strerror(code)));
  }

  void set_up(curl_slist* headers) {
    const HttpRequest& request = *request_;
    error_[0] = '\0';
    set(CURLOPT_ERRORBUFFER, error_);
    set(CURLOPT_URL, request.url.c_str());
    set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    set(CURLOPT_PATH_AS_IS, 1L);
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_QUICK_EXIT, 1L);  // don't wait for a name look-up that nobody needs any more
    set(CURLOPT_FOLLOWLOCATION, 0L);
    set(CURLOPT_HTTPHEADER, headers);
    set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    if (!settings_->user_agent.empty()) set(CURLOPT_USERAGENT, settings_->user_agent.c_str());
    set(CURLOPT_CONNECTTIMEOUT, static_cast<long>(settings_->connect_timeout_s));
    set(CURLOPT_TIMEOUT, static_cast<long>(request.timeout_s));
    set(CURLOPT_LOW_SPEED_LIMIT, 1L);
    set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(settings_->stall_s));
    if (needs_certificates(request.url)) set_certificates();
    if (const std::string proxy = upper_case_proxy(request.url); !proxy.empty())
      set(CURLOPT_PROXY, proxy.c_str());
    set(CURLOPT_HEADERFUNCTION, &take_header);
    set(CURLOPT_HEADERDATA, this);
    set(CURLOPT_WRITEFUNCTION, &take_body);
    set(CURLOPT_WRITEDATA, this);
    if (!request.into.empty() && !settings_->pace) set(CURLOPT_BUFFERSIZE, kReceiveBuffer);
    if (request.body) {
      set(CURLOPT_UPLOAD, 1L);
      set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.body->size));
      set(CURLOPT_UPLOAD_BUFFERSIZE, kSendBuffer);
      set(CURLOPT_READFUNCTION, &give_body);
      set(CURLOPT_READDATA, this);
      set(CURLOPT_SEEKFUNCTION, &seek_body);
      set(CURLOPT_SEEKDATA, this);
    } else if (request.method == "HEAD") {
      set(CURLOPT_NOBODY, 1L);
    }
    set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }

  void set_certificates() {
    const CaBundle bundle = ca_bundle(libcurl().knows_certificates);
    const auto trust = [&](CURLoption option, const std::string& place) {
      if (!place.empty() || bundle.is_all) set(option, place.empty() ? nullptr : place.c_str());
    };
    for (const CURLoption option : {CURLOPT_CAINFO, CURLOPT_PROXY_CAINFO}) trust(option, bundle.file);
    for (const CURLoption option : {CURLOPT_CAPATH, CURLOPT_PROXY_CAPATH}) trust(option, bundle.folder);
  }

  CURLcode perform() {
    libcurl().multi_add_handle(multi_, easy_);
    struct Detach {
      Connection& connection;
      ~Detach() { libcurl().multi_remove_handle(connection.multi_, connection.easy_); }
    } const detach{*this};
    for (int running = 1; running > 0;) {
      if (libcurl().multi_perform(multi_, &running) != CURLM_OK)
        throw Error(ErrorKind::kIo, "libcurl can't continue a transfer");
      check_interrupt();
      if (running > 0) libcurl().multi_poll(multi_, nullptr, 0, kPollMs, nullptr);
    }
    int left = 0;
    while (const CURLMsg* message = libcurl().multi_info_read(multi_, &left)) {
      if (message->msg == CURLMSG_DONE) return message->data.result;
    }
    return CURLE_GOT_NOTHING;
  }

  Error failure(CURLcode code) const {
    const std::string where = origin(parse_url(request_->url));
    std::string why = error_[0] != '\0' ? error_ : libcurl().easy_strerror(code);
    if (code == CURLE_OPERATION_TIMEDOUT && !request_->into.empty())
      why = fmt::format("no progress: {} of {} bytes received", response_.received, request_->into.size());
    else if (code == CURLE_OPERATION_TIMEDOUT)
      why = fmt::format("no progress: {} of {} bytes sent", sent_, request_->body ? request_->body->size : 0);
    Error error(kind_of(code), fmt::format("{} {}: {}", request_->method, where, escape_name(why)));
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
      error.hint("name the certificates to trust with SSL_CERT_FILE");
    return error;
  }

  template <typename Work>
  bool guarded(Work work) {
    try {
      work();
      return true;
    } catch (...) {
      if (!fault_) fault_ = std::current_exception();
      return false;
    }
  }

  static std::size_t take_header(char* data, std::size_t, std::size_t size, void* self) {
    Connection& c = *static_cast<Connection*>(self);
    const bool fine = c.guarded([&] {
      c.header_bytes_ += size;
      if (c.header_bytes_ > kMaxHeaders)
        throw Error(ErrorKind::kRemote, fmt::format("{}: the answer's headers are longer than {} bytes",
                                                    printable_url(c.request_->url), kMaxHeaders));
      const std::string_view line = trim({data, size});
      if (line.starts_with("HTTP/")) {  // again after an interim answer
        c.response_.headers.clear();
        c.headers_ended_ = false;
      }
      if (line.empty()) {
        c.headers_ended_ = true;
        c.enough_ = c.is_unwanted();
      }
      const std::size_t colon = line.find(':');
      if (colon == std::string_view::npos || c.response_.headers.size() > 1000) return;
      c.response_.headers.push_back(
          {lower_ascii(trim(line.substr(0, colon))), std::string(trim(line.substr(colon + 1)))});
    });
    return fine && !c.enough_ ? size : 0;
  }

  [[nodiscard]] long status() const {
    long status = 0;
    libcurl().easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
    return status;
  }
  [[nodiscard]] bool is_success() const { return status() >= 200 && status() < 300; }
  [[nodiscard]] bool is_range() const { return !request_->into.empty() && status() == 206; }

  // Whether the headers announce, instead of a range, more than anybody wants.
  [[nodiscard]] bool is_unwanted() const {
    if (request_->into.empty() || !is_success() || is_range()) return false;
    const std::string* const length = response_.header("content-length");
    return request_->max_answer == 0 ||
           (length != nullptr && std::strtoull(length->c_str(), nullptr, 10) > request_->max_answer);
  }

  // Puts the bytes of a range where they belong.
  std::size_t take_range(std::string_view data) {
    const bool fine = guarded([&] {
      const std::span<std::byte> rest = request_->into.subspan(static_cast<std::size_t>(response_.received));
      if (data.size() > rest.size())
        throw Error(ErrorKind::kRemote,
                    fmt::format("{}: more bytes came than the range has", printable_url(request_->url)));
      if (settings_->pace) settings_->pace(data.size());
      std::memcpy(rest.data(), data.data(), data.size());
      response_.received += data.size();
    });
    return fine ? data.size() : 0;
  }

  // Ends the transfer after the beginning of a long refusal.
  std::size_t take_refusal(std::string_view data) {
    const bool fine =
        guarded([&] { response_.body.append(data.substr(0, kMaxRefusal - response_.body.size())); });
    enough_ = response_.body.size() == kMaxRefusal;
    return fine && !enough_ ? data.size() : 0;
  }

  static std::size_t take_body(char* data, std::size_t, std::size_t size, void* self) {
    Connection& c = *static_cast<Connection*>(self);
    if (!c.is_success()) return c.take_refusal({data, size});
    if (c.is_range()) return c.take_range({data, size});
    const bool fine = c.guarded([&] {
      if (c.response_.body.size() + size > c.request_->max_answer)
        throw Error(ErrorKind::kRemote, fmt::format("{}: the answer is longer than {} bytes",
                                                    printable_url(c.request_->url), c.request_->max_answer));
      c.response_.body.append(data, size);
    });
    return fine ? size : 0;
  }

  static std::size_t give_body(char* data, std::size_t, std::size_t size, void* self) {
    Connection& c = *static_cast<Connection*>(self);
    const HttpBody& body = *c.request_->body;
    const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>(size, body.size - c.sent_));
    const bool fine = c.guarded([&] {
      if (count == 0) return;
      if (c.settings_->pace) c.settings_->pace(count);
      body.read(c.sent_, {reinterpret_cast<std::byte*>(data), count});
      c.sent_ += count;
    });
    return fine ? count : CURL_READFUNC_ABORT;
  }

  static int seek_body(void* self, curl_off_t offset, int from) {
    Connection& c = *static_cast<Connection*>(self);
    if (from != SEEK_SET || offset < 0 || static_cast<std::uint64_t>(offset) > c.request_->body->size)
      return CURL_SEEKFUNC_FAIL;
    c.sent_ = static_cast<std::uint64_t>(offset);
    return CURL_SEEKFUNC_OK;
  }

  CURL* easy_;
  CURLM* multi_;
  const HttpRequest* request_ = nullptr;
  const HttpSettings* settings_ = nullptr;
  HttpResponse response_;
  std::uint64_t sent_ = 0;
  std::size_t header_bytes_ = 0;
  bool enough_ = false;  // of a refusal's body
  bool headers_ended_ = false;
  std::exception_ptr fault_;
  char error_[CURL_ERROR_SIZE] = "";
};

HttpClient::HttpClient(HttpSettings settings) : settings_(std::move(settings)) {}
HttpClient::~HttpClient() = default;

std::unique_ptr<HttpClient::Connection> HttpClient::take_connection(const std::string& origin) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (idle_.empty()) return std::make_unique<Connection>();
  const auto same = std::find_if(idle_.rbegin(), idle_.rend(),
                                 [&](const auto& connection) { return connection->peer == origin; });
  if (same != idle_.rend()) std::swap(*same, idle_.back());
  std::unique_ptr<Connection> connection = std::move(idle_.back());
  idle_.pop_back();
  return connection;
}

HttpResponse HttpClient::send(const HttpRequest& request) {
  const std::string to =
      origin(parse_url(request.url));  // throws for URLs that libcurl might read differently
  std::unique_ptr<Connection> connection = take_connection(to);
  connection->peer = to;
  const auto start = std::chrono::steady_clock::now();
  const auto trace = [&](const std::string& line) {
    if (settings_.trace) settings_.trace(line);
  };
  trace(fmt::format("> {} {} ({} bytes)", request.method, printable_url(request.url),
                    request.body ? request.body->size : 0));
  for (const HttpHeader& header : request.headers)
    trace(
        fmt::format("> {}: {}", escape_name(header.name), is_printable(header.name) ? header.value : "***"));
  try {
    HttpResponse response = connection->exchange(request, settings_);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    trace(fmt::format("< {} ({} bytes, {:.0f} ms){}{}", response.status,
                      response.body.size() + response.received, took.count(),
                      response.torn.empty() ? "" : " ", response.torn));
    if (!response.torn.empty()) return response;  // its connection is broken
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(connection));
    return response;
  } catch (const Error& error) {
    trace(std::string("< ") + error.what());
    throw;
  }
}

}  // namespace mu
