// SPDX-License-Identifier: Apache-2.0
// Against a hub and a storage that are functions: no network, no waits.
#include "hub/ranged_file.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <thread>
#include <vector>

#include "hash/git_blob.h"
#include "hash/sha256.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

std::string some_bytes(std::size_t count) {
  std::string text(count, '\0');
  std::uint32_t state = 1;
  for (char& c : text) c = static_cast<char>((state = state * 1'664'525 + 1'013'904'223) >> 24);
  return text;
}

std::string sha256_of(std::string_view bytes) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(bytes)));
  return to_hex(hash.finish());
}

const std::string* sent_header(const HttpRequest& request, std::string_view name) {
  const auto found = std::find_if(request.headers.begin(), request.headers.end(),
                                  [&](const HttpHeader& header) { return header.name == name; });
  return found == request.headers.end() ? nullptr : &found->value;
}

// A hub that leads to a storage, or a server of its own ("plain"). A step of the script spoils one answer: of the
// storage, or of the plain server.
class Server {
 public:
  using Step = std::function<HttpResponse(const HttpRequest&, Server&)>;

  explicit Server(std::string text) : bytes(std::move(text)), hash(sha256_of(bytes)) {}

  std::string bytes, hash;
  std::string tag = "\"one\"", modified = "Mon, 01 Jan 2024 00:00:00 GMT";
  std::deque<Step> script;
  std::vector<std::string> links, if_ranges;  // what was asked
  unsigned look_ups = 0, reads = 0;

  HttpResponse operator()(const HttpRequest& request) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (request.url.starts_with("https://hub.example/")) {
      ++look_ups;
      CHECK(sent_header(request, "Authorization") != nullptr);
      links.push_back(fmt::format("https://storage.example/x?sig={}", links.size() + 1));
      return {302, {{"location", links.back()}, {"x-linked-etag", '"' + hash + '"'}}, ""};
    }
    ++reads;
    CHECK(sent_header(request, "Authorization") == nullptr);
    REQUIRE(sent_header(request, "Accept-Encoding") != nullptr);
    const std::string* held = sent_header(request, "If-Range");
    if_ranges.push_back(held == nullptr ? "" : *held);
    if (!script.empty()) {
      const Step step = std::move(script.front());
      script.pop_front();
      return step(request, *this);
    }
    return part(request);
  }

  HttpResponse part(const HttpRequest& request, std::size_t at_most = SIZE_MAX) const {
    unsigned long long begin = 0, last = 0;
    REQUIRE(std::sscanf(sent_header(request, "Range")->c_str(), "bytes=%llu-%llu", &begin, &last) == 2);
    const std::size_t end = std::min<std::size_t>(last + 1, bytes.size()), size = end - begin;
    HttpResponse response{206, {}, ""};
    response.headers = {{"content-range", fmt::format("bytes {}-{}/{}", begin, end - 1, bytes.size())},
                        {"date", "Tue, 02 Jan 2024 00:00:00 GMT"}};
    if (!tag.empty()) response.headers.push_back({"etag", tag});
    if (!modified.empty()) response.headers.push_back({"last-modified", modified});
    response.received = std::min(size, at_most);
    if (response.received < size) response.torn = "GET https://storage.example: torn";
    std::memcpy(request.into.data(), bytes.data() + begin, static_cast<std::size_t>(response.received));
    return response;
  }

 private:
  std::mutex mutex_;
};

Server::Step status(int number, std::vector<HttpHeader> headers = {}) {
  return [=](const HttpRequest&, Server&) { return HttpResponse{number, headers, ""}; };
}

// A session whose waits take no time.
struct Wire {
  Server server;
  double now = 1'000'000, waited = 0;
  HubSession session;
  std::vector<RemoteFile> found;  // what another look-up in the listing says

  explicit Wire(std::string bytes)
      : server(std::move(bytes)), session(settings(), [this](const HttpRequest& r) { return server(r); }) {}

  SessionSettings settings() {
    SessionSettings settings;
    settings.endpoint = "https://hub.example";
    settings.token = Token{"hf_secret", "test"};
    settings.clock = {[this] { return now; }, [this](double seconds) { now += seconds, waited += seconds; },
                      [] { return 0.5; }};
    return settings;
  }

  RemoteFile listed() const { return {"x", server.bytes.size(), "", server.hash}; }
  RangedSource at_hub() {
    found = {listed()};
    return {"https://hub.example/o/n/resolve/c/x", "hf://o/n/x", listed(),
            [this] { return found.empty() ? std::nullopt : std::optional(found.front()); }};
  }
  static RangedSource plain() {
    return {"https://plain.example/x?key=1", "https://plain.example/x?…", {}, {}};
  }
};

std::string read(RangedFile& file, std::uint64_t offset, std::size_t size) {
  std::string out(size, '\0');
  file.read(offset, std::as_writable_bytes(std::span(out)));
  return out;
}

// All of it, by as many threads, which count themselves.
std::string read_by_16(RangedFile& file, std::atomic<unsigned>& started) {
  std::vector<std::thread> threads;
  std::vector<std::string> parts(16);
  for (std::size_t i = 0; i < parts.size(); ++i)
    threads.emplace_back([&, i] { ++started, parts[i] = read(file, i * 62'500, 62'500); });
  for (std::thread& thread : threads) thread.join();
  std::string whole;
  for (const std::string& part : parts) whole += part;
  return whole;
}

std::string message_of(const std::function<void()>& action, ErrorKind kind) {
  try {
    action();
  } catch (const Error& error) {
    CHECK(error.kind() == kind);
    return error.what();
  }
  FAIL("no error");
  return "";
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

constexpr std::size_t kSize = 1'000'000;

}  // namespace

TEST_CASE("ranged file: looked up once, then held to the storage's entity tag") {
  Wire wire(some_bytes(kSize));
  RangedFile file(wire.session, wire.at_hub());
  CHECK(read(file, 100, 200'000) == wire.server.bytes.substr(100, 200'000));
  CHECK(read(file, 500'000, 300'000) == wire.server.bytes.substr(500'000, 300'000));
  for (std::size_t i = 0; i < 1'000; ++i) read(file, 900'000 + i * 60, 50);
  CHECK(wire.server.look_ups == 1);
  CHECK(wire.server.reads == 5);  // the small ones in blocks of 4, 16 and 64 KiB
  CHECK(wire.server.if_ranges == std::vector<std::string>{"", "\"one\"", "\"one\"", "\"one\"", "\"one\""});
  CHECK(file.sha256() == wire.server.hash);
}

TEST_CASE("ranged file: the head is kept, and bytes of it are not read again") {
  std::string bytes = some_bytes(kSize);
  const std::uint64_t header = 150'000;
  std::memcpy(bytes.data(), &header, 8);
  Wire wire(bytes);
  RangedFile file(wire.session, wire.at_hub());
  file.read_head(true);
  CHECK(file.head() == bytes.substr(0, 150'008));
  CHECK(wire.server.reads == 2);
  CHECK(read(file, 0, 150'008) == bytes.substr(0, 150'008));
  CHECK(wire.server.reads == 2);
  CHECK(read(file, 0, kSize) == bytes);
  CHECK(wire.server.reads == 3);
}

TEST_CASE("ranged file: links that expire are renewed, at once the first time, within patience always") {
  Wire wire(some_bytes(kSize));
  RangedFile file(wire.session, wire.at_hub());
  read(file, 0, 100'000);
  wire.server.script = {status(403)};
  CHECK(read(file, 200'000, 100'000) == wire.server.bytes.substr(200'000, 100'000));
  CHECK(wire.server.look_ups == 2);
  CHECK(wire.waited == 0);
  wire.server.tag = "\"a bridge makes its own\"";
  wire.server.script = {status(401), status(403)};
  CHECK(read(file, 300'000, 100'000) == wire.server.bytes.substr(300'000, 100'000));
  CHECK(wire.server.look_ups == 4);
  CHECK(wire.waited > 0);
  CHECK(wire.server.if_ranges.back().empty());  // the tag of another link is not held
  for (int i = 0; i < 1'000; ++i) wire.server.script.push_back(status(403));
  const std::string message = message_of([&] { read(file, 0, 100'000); }, ErrorKind::kTemporary);
  CHECK(has(message, "hf://o/n/x: "));
  CHECK_FALSE(has(message, "sig="));
  CHECK(wire.waited >= 120);
  CHECK(wire.waited < 300);
}

TEST_CASE("ranged file: what a storage copies of its link is not shown") {
  Wire wire(some_bytes(kSize));
  HubSession session(wire.settings(), [&](const HttpRequest& request) {
    if (request.url.starts_with("https://hub.example/"))
      return HttpResponse{302, {{"location", "https://storage.example/x?a=1&sig=top%2Fsecret%3D"}}, ""};
    return HttpResponse{404, {{"x-error-message", "no top/secret="}}, "no " + request.url};
  });
  RangedFile file(session, wire.at_hub());
  const std::string message = message_of([&] { read(file, 0, 100'000); }, ErrorKind::kRemote);
  CHECK(
      has(message, "https://storage.example answers 404: no ***; no https://storage.example/x?a=1&sig=***"));
  CHECK_FALSE(has(message, "secret"));
}

TEST_CASE("ranged file: another hash behind a renewed link ends it") {
  Wire wire(some_bytes(kSize));
  RangedFile file(wire.session, wire.at_hub());
  read(file, 0, 100'000);
  wire.server.hash = sha256_of("other");
  wire.server.script = {status(403)};
  CHECK(has(message_of([&] { read(file, 0, 100'000); }, ErrorKind::kRemote), "changed"));
}

TEST_CASE("ranged file: a torn answer goes on from the byte it reached") {
  Wire wire(some_bytes(kSize));
  RangedFile file(wire.session, wire.at_hub());
  std::vector<std::string> ranges;
  const auto torn_after = [&](std::size_t count) {
    return [&ranges, count](const HttpRequest& request, Server& server) {
      ranges.push_back(*sent_header(request, "Range"));
      return server.part(request, count);
    };
  };
  wire.server.script = {torn_after(70'000), torn_after(0), torn_after(10), torn_after(SIZE_MAX)};
  CHECK(read(file, 1'000, 500'000) == wire.server.bytes.substr(1'000, 500'000));
  CHECK(ranges == std::vector<std::string>{"bytes=1000-500999", "bytes=71000-500999", "bytes=71000-500999",
                                           "bytes=71010-500999"});
  CHECK(wire.server.look_ups == 1);
  CHECK(wire.waited > 0);
  for (int i = 0; i < 1'000; ++i) wire.server.script.push_back(torn_after(0));
  CHECK(has(message_of([&] { read(file, 0, 500'000); }, ErrorKind::kTemporary), "hf://o/n/x: "));
  // Progress gives new patience: much more is waited in all than for one failure.
  wire.server.script.clear();
  for (int i = 0; i < 10; ++i) {
    wire.server.script.push_back(torn_after(90'000));
    for (int k = 0; k < 6; ++k) wire.server.script.push_back(status(503));
  }
  wire.waited = 0;
  CHECK(read(file, 0, 950'000) == wire.server.bytes.substr(0, 950'000));
  CHECK(wire.waited > 120);
}

TEST_CASE("ranged file: failures of servers are waited for, as long as they ask") {
  Wire wire(some_bytes(kSize));
  RangedFile file(wire.session, wire.at_hub());
  const Server::Step broken = [](const HttpRequest&, Server&) -> HttpResponse {
    throw Error(ErrorKind::kTemporary, "GET https://storage.example: no connection");
  };
  wire.server.script = {status(500), status(429, {{"retry-after", "7"}}), broken, status(502)};
  CHECK(read(file, 0, 100'000) == wire.server.bytes.substr(0, 100'000));
  CHECK(wire.waited >= 8);
  CHECK(wire.server.look_ups == 1);
  wire.server.script = {status(503, {{"retry-after", "500"}})};
  CHECK(has(message_of([&] { read(file, 0, 100'000); }, ErrorKind::kTemporary), "500 s"));
  wire.server.script.assign(1'000, broken);
  CHECK(has(message_of([&] { read(file, 0, 100'000); }, ErrorKind::kTemporary), "no connection"));
}

TEST_CASE("ranged file: servers without ranges are named, and nothing of the file is taken") {
  for (const Server::Step& step :
       {status(200, {{"accept-ranges", "none"}, {"content-length", "1000000"}}), status(200), status(416)}) {
    Wire wire(some_bytes(kSize));
    RangedFile file(wire.session, wire.at_hub());
    wire.server.script = {step};
    CHECK(has(message_of([&] { read(file, 0, 100'000); }, ErrorKind::kRemote), "range"));
    CHECK(wire.server.reads == 1);
  }
}

TEST_CASE("ranged file: what is not the range that was asked for is refused") {
  struct Row {
    const char *name, *value, *message;
  };
  for (const Row& row :
       {Row{"content-range", "bytes 1-100000/1000000", "others came"},
        Row{"content-range", "bytes 0-99999/999999", "it has 999999 bytes"},
        Row{"content-range", "bytes 0-100000/1000000", "others came"},
        Row{"content-range", "bytes 0-99/1000000", "others came"},
        Row{"content-range", "bytes */1000000", "which range"}, Row{"content-range", "", "which range"},
        Row{"content-encoding", "gzip", "compresses"}}) {
    CAPTURE(row.value);
    Wire wire(some_bytes(kSize));
    RangedFile file(wire.session, wire.at_hub());
    wire.server.script = {[&](const HttpRequest& request, Server& server) {
      HttpResponse response = server.part(request);
      std::erase_if(response.headers, [&](const HttpHeader& header) { return header.name == row.name; });
      if (*row.value != '\0') response.headers.push_back({row.name, row.value});
      return response;
    }};
    CHECK(has(message_of([&] { read(file, 0, 100'000); }, ErrorKind::kRemote), row.message));
  }
}

TEST_CASE("ranged file: a shorter range than was asked for is taken, and the rest asked for") {
  Wire wire(some_bytes(kSize));
  RangedFile file(wire.session, wire.at_hub());
  wire.server.script = {[](const HttpRequest& request, Server& server) {
    HttpResponse response = server.part(request, 80'000);
    response.torn.clear();
    response.headers[0].value = "bytes 0-79999/1000000";
    return response;
  }};
  CHECK(read(file, 0, 300'000) == wire.server.bytes.substr(0, 300'000));
  CHECK(wire.server.reads == 2);
  CHECK(wire.waited == 0);
}

TEST_CASE("ranged file: another version of the file: the listing decides") {
  const Server::Step other_tag = [](const HttpRequest& request, Server& server) {
    HttpResponse response = server.part(request);
    for (HttpHeader& header : response.headers)
      if (header.name == "etag") header.value = "\"two\"";
    return response;
  };
  for (const Server::Step& step : {status(200), other_tag}) {
    Wire wire(some_bytes(kSize));
    RangedFile file(wire.session, wire.at_hub());
    read(file, 0, 100'000);
    wire.server.script = {step};
    CHECK(read(file, 200'000, 100'000) == wire.server.bytes.substr(200'000, 100'000));
    CHECK(wire.server.look_ups == 2);
    wire.server.script.assign(1'000, status(200));  // it says so for ever
    CHECK(has(message_of([&] { read(file, 0, 100'000); }, ErrorKind::kTemporary), "is the same"));
    wire.found.front().sha256 = sha256_of("other");
    wire.server.script = {status(200)};
    CHECK(has(message_of([&] { read(file, 0, 100'000); }, ErrorKind::kRemote), "changed"));
    wire.found.clear();
    wire.server.script = {status(200)};
    CHECK(has(message_of([&] { read(file, 0, 100'000); }, ErrorKind::kRemote), "changed"));
  }
}

TEST_CASE("ranged file: where a range within the file is refused, waiting does not help") {
  Wire wire(some_bytes(kSize));
  RangedFile file(wire.session, wire.at_hub());
  read(file, 0, 100'000);
  wire.server.script = {status(416)};
  CHECK(has(message_of([&] { read(file, 200'000, 100'000); }, ErrorKind::kRemote), "range"));
  CHECK(wire.server.reads == 2);
}

TEST_CASE("ranged file: a plain server's file is held to its strong tag, else to its date") {
  struct Row {
    const char *tag, *modified, *if_range;
    bool is_firm;
  };
  for (const Row& row :
       {Row{"\"one\"", "Mon, 01 Jan 2024 00:00:00 GMT", "\"one\"", true},
        Row{"W/\"one\"", "Mon, 01 Jan 2024 00:00:00 GMT", "Mon, 01 Jan 2024 00:00:00 GMT", false},
        Row{"", "Tue, 02 Jan 2024 00:00:00 GMT", "", false}, Row{"", "", "", false}}) {
    CAPTURE(row.tag);
    Wire wire(some_bytes(kSize));
    wire.server.tag = row.tag;
    wire.server.modified = row.modified;
    RangedFile file(wire.session, Wire::plain());
    file.read_head(false);
    CHECK(file.size() == kSize);
    CHECK(file.sha256().empty());
    CHECK(file.is_held_firmly() == row.is_firm);
    CHECK(read(file, 200'000, 100'000) == wire.server.bytes.substr(200'000, 100'000));
    CHECK(wire.server.if_ranges.back() == row.if_range);
    wire.server.script = {status(200, {{"content-length", "999999"}})};
    CHECK(has(message_of([&] { read(file, 300'000, 100'000); }, ErrorKind::kRemote), "changed"));
    if (*row.modified == '\0') continue;
    wire.server.script = {status(200, {{"etag", row.tag}, {"last-modified", row.modified}})};
    CHECK(read(file, 300'000, 100'000) == wire.server.bytes.substr(300'000, 100'000));
    wire.server.tag = row.is_firm ? "\"two\"" : "";
    wire.server.modified = "Tue, 02 Jan 2024 01:00:00 GMT";
    CHECK(has(message_of([&] { read(file, 400'000, 100'000); }, ErrorKind::kRemote), "changed"));
  }
}

TEST_CASE("ranged file: of a plain file that ends before the first range the size is learnt") {
  for (const std::size_t size : {0UL, 1UL, 100'000UL, 100'001UL}) {
    Wire wire(some_bytes(size));
    if (size == 0) wire.server.script = {status(416, {{"content-range", "bytes */0"}})};
    RangedFile file(wire.session, Wire::plain());
    file.read_head(false);
    CHECK(file.size() == size);
    CHECK(file.head() == wire.server.bytes);
  }
}

TEST_CASE("ranged file: a file that is read whole is compared with the hub's hash") {
  for (const bool is_lfs : {true, false}) {
    Wire wire(some_bytes(50'000));
    const std::string bytes = wire.server.bytes;
    RangedSource source = wire.at_hub();
    if (!is_lfs) {
      source.listed->sha256.clear();
      source.listed->blob = git_object_id("blob", std::as_bytes(std::span(bytes)));
    }
    RangedFile good(wire.session, source);
    CHECK(read(good, 0, 50'000) == bytes);
    wire.server.bytes[1'234] ^= 1;
    RangedFile bad(wire.session, source);
    CHECK(has(message_of([&] { read(bad, 0, 50'000); }, ErrorKind::kRemote), is_lfs ? "SHA-256" : "git id"));
  }
}

TEST_CASE("ranged file: small files that lie in git may come whole, without ranges") {
  Wire wire(some_bytes(300'000));
  const std::string bytes = wire.server.bytes;
  RangedSource source = wire.at_hub();
  source.listed->sha256.clear();
  source.listed->blob = git_object_id("blob", std::as_bytes(std::span(bytes)));
  RangedFile file(wire.session, source);
  wire.server.script = {[&](const HttpRequest& request, Server&) {
    CHECK(request.max_answer == bytes.size());
    return HttpResponse{200, {}, bytes};
  }};
  CHECK(read(file, 100'000, 100'000) == bytes.substr(100'000, 100'000));
  CHECK(read(file, 0, 300'000) == bytes);
  CHECK(wire.server.reads == 1);
}

TEST_CASE("ranged file: sixteen threads ask the hub once, and once more when the link has expired") {
  Wire wire(some_bytes(kSize));
  RangedFile file(wire.session, wire.at_hub());
  std::atomic<unsigned> started = 0;
  CHECK(read_by_16(file, started) == wire.server.bytes);
  CHECK(wire.server.look_ups == 1);
  wire.server.script.assign(1, status(403));
  CHECK(read_by_16(file, started) == wire.server.bytes);
  CHECK(wire.server.look_ups == 2);
}

TEST_CASE("ranged file: of a renamed repository the hub is asked once, too, whatever the threads") {
  Wire wire(some_bytes(kSize));
  std::atomic<unsigned> started = 0;
  HubSession session(wire.settings(), [&](const HttpRequest& request) -> HttpResponse {
    if (request.url.starts_with("https://hub.example/o/"))
      return {307, {{"location", "/new/n/resolve/c/x"}}, ""};
    while (started < 16) std::this_thread::yield();
    return wire.server(request);
  });
  RangedFile file(session, wire.at_hub());
  CHECK(read_by_16(file, started) == wire.server.bytes);
  CHECK(wire.server.look_ups == 1);
}

TEST_CASE("ranged file: who waits for a look-up ends with it when it fails") {
  Wire wire(some_bytes(kSize));
  std::mutex mutex;
  std::condition_variable changed;
  unsigned asked = 0;
  bool fails = false;
  HubSession session(wire.settings(), [&](const HttpRequest&) -> HttpResponse {
    std::unique_lock<std::mutex> lock(mutex);
    ++asked;
    changed.notify_all();
    changed.wait(lock, [&] { return fails; });
    return {403, {{"x-error-code", "GatedRepo"}}, ""};
  });
  RangedFile file(session, wire.at_hub());
  std::atomic<unsigned> refused = 0;
  const auto ask = [&] { refused += error_of([&] { read(file, 0, 9'000); }) == ErrorKind::kRemote; };
  std::vector<std::thread> threads;
  threads.emplace_back(ask);
  {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return asked == 1; });
  }
  for (int i = 0; i < 7; ++i) threads.emplace_back(ask);
  {
    const std::lock_guard<std::mutex> lock(mutex);
    fails = true;
    changed.notify_all();
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(refused == 8);
}
