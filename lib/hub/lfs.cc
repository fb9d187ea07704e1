// SPDX-License-Identifier: Apache-2.0
// The hub is asked about objects in groups of at most 256 and 16 GB, shortly before their links are used,
// since links live for a quarter of an hour. Within a group every piece of every file is a task of its own, so
// that one large file keeps all connections as busy as many small ones; whichever task stores the last piece
// of an object also completes it (the hub joins the pieces, then verifies).
//
// What can go wrong, and what follows:
//   no answer, 5xx, 429     the session repeats the request; bytes that go out again don't count as progress
//   400, 403, 404           the link has expired or was refused: the object gets new ones, at most kMaxRounds times
//   the process is killed   the journal knows the pieces that are stored, and the next run sends the others
//   the file changes        kTemporary: its stamp is compared when it is opened and before it is completed
#include "hub/lfs.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <mutex>

#include "base/json_write.h"
#include "base/sizes.h"
#include "base/text.h"
#include "os/threads.h"

namespace mu {
namespace {

constexpr std::size_t kGroupObjects = 256;
constexpr std::uint64_t kGroupBytes = 16'000'000'000;  // a PUT's link lives a quarter of an hour
constexpr unsigned kMaxRounds = 3;                     // of links for one object
constexpr std::string_view kLfsJson = "application/vnd.git-lfs+json";

// Checks every link before anything is sent to one.
void lead(const HubSession& session, LfsUpload& upload) {
  const auto led = [&session](std::string& link) {
    if (!link.empty()) link = session.led_to(session.endpoint(), link);
  };
  led(upload.href);
  led(upload.verify_href);
  for (std::string& piece : upload.pieces) led(piece);
}

std::vector<LfsUpload> ask(HubApi& api, const std::vector<LfsObject>& objects, const std::string& revision) {
  std::string body;
  JsonWriter json(body, 0);
  json.begin_object().member("operation", "upload");
  json.key("transfers").begin_array().value("basic").value("multipart").end_array();
  json.member("hash_algo", "sha256");
  if (!revision.empty()) json.key("ref").begin_object().member("name", revision).end_object();
  json.key("objects").begin_array();
  for (const LfsObject& object : objects)
    json.begin_object().member("oid", object.oid).member("size", object.size).end_object();
  json.end_array().end_object();
  HubRequest request;
  request.method = "POST";
  request.path = api.repo().web_path() + ".git/info/lfs/objects/batch";
  request.accept = request.content_type = kLfsJson;
  request.body = text_body(std::move(body));
  request.what = "ask where to store files";
  const JsonValue answer = api.session().json(request);
  try {
    std::vector<LfsUpload> uploads = parse_batch(answer, objects, api.session().clock().now());
    for (LfsUpload& upload : uploads) lead(api.session(), upload);
    return uploads;
  } catch (const Error& error) {
    throw Error(error.kind(), api.session().masked(error.what()));
  }
}

// Calls each(group) for objects in groups.
template <typename Each>
void in_groups(const std::vector<LfsObject>& objects, Each each) {
  std::vector<LfsObject> group;
  std::uint64_t bytes = 0;
  for (const LfsObject& object : objects) {
    if (!group.empty() && (group.size() >= kGroupObjects || bytes + object.size > kGroupBytes)) {
      each(group);
      group.clear();
      bytes = 0;
    }
    group.push_back(object);
    bytes += object.size;
  }
  if (!group.empty()) each(group);
}

// One object on its way. Tasks of several threads share it.
struct Flight {
  LfsObject object;
  LfsUpload upload;
  std::mutex mutex;  // guards what follows
  std::optional<InputFile> file;
  std::vector<std::string> etags;  // one a piece; empty: not sent
  std::size_t left = 0;            // pieces
  bool renew = false;              // its links no longer work
};

class Uploader {
 public:
  Uploader(HubApi& api, Journal& journal, const UploadOptions& options)
      : api_(api), journal_(journal), options_(options) {}

  UploadCounts run(const std::vector<LfsObject>& objects) {
    in_groups(objects, [this](const std::vector<LfsObject>& group) {
      std::vector<LfsObject> rest = group;
      for (unsigned round = 1; !rest.empty(); ++round) {
        if (round > kMaxRounds)
          throw Error(ErrorKind::kTemporary, last_refusal_).in_file(escape_name(rest.front().file->name));
        rest = send_group(rest);
      }
    });
    return {sent_, stored_};
  }

 private:
  struct Task {
    Flight* flight;
    std::size_t piece;
  };

  // Returns the objects that need new links.
  std::vector<LfsObject> send_group(const std::vector<LfsObject>& group) {
    std::vector<std::unique_ptr<Flight>> flights = prepare(group);
    std::vector<Task> tasks;
    for (const std::unique_ptr<Flight>& flight : flights) {
      for (std::size_t piece = 0; piece < flight->etags.size(); ++piece) {
        if (flight->etags[piece].empty()) tasks.push_back({flight.get(), piece});
      }
      if (flight->left == 0) tasks.push_back({flight.get(), flight->etags.size()});  // all pieces are stored
    }
    parallel_for(tasks.size(), options_.jobs, [&](std::size_t i) { do_task(tasks[i]); });
    std::vector<LfsObject> again;
    for (const std::unique_ptr<Flight>& flight : flights) {
      if (!flight->renew) continue;
      journal_.forget(flight->object.oid);
      again.push_back(flight->object);
    }
    return again;
  }

  std::vector<std::unique_ptr<Flight>> prepare(const std::vector<LfsObject>& group) {
    std::vector<std::unique_ptr<Flight>> flights;
    std::vector<LfsObject> unknown;
    for (const LfsObject& object : group) {
      std::optional<Journal::Saved> saved = journal_.find(object.oid, api_.session().clock().now());
      if (!saved || saved->upload.size != object.size) {
        unknown.push_back(object);
        continue;
      }
      add_flight(flights, object, saved->upload);
      Flight& flight = *flights.back();
      for (const auto& [piece, etag] : saved->etags) {
        flight.etags[piece] = etag;
        flight.left -= 1;
        count(stored_, piece_size(flight, piece));
      }
    }
    if (unknown.empty()) return flights;
    const std::vector<LfsUpload> uploads = ask(api_, unknown, options_.revision);
    for (std::size_t i = 0; i < unknown.size(); ++i) {
      if (uploads[i].href.empty()) {
        count(stored_, unknown[i].size);
        detail(unknown[i], "is already there");
        continue;
      }
      if (!uploads[i].pieces.empty() && uploads[i].expires > 0) journal_.begin(uploads[i]);
      add_flight(flights, unknown[i], uploads[i]);
    }
    return flights;
  }

  static void add_flight(std::vector<std::unique_ptr<Flight>>& flights, const LfsObject& object,
                         const LfsUpload& upload) {
    flights.push_back(std::make_unique<Flight>());
    Flight& flight = *flights.back();
    flight.object = object;
    flight.upload = upload;
    flight.left = std::max<std::size_t>(upload.pieces.size(), 1);
    flight.etags.resize(flight.left);
  }

  static std::uint64_t piece_size(const Flight& flight, std::size_t piece) {
    if (flight.upload.pieces.empty()) return flight.object.size;
    return std::min(flight.upload.chunk_size, flight.object.size - piece * flight.upload.chunk_size);
  }

  void do_task(const Task& task) {
    Flight& flight = *task.flight;
    if (needs_renewal(flight)) return;
    if (task.piece < flight.etags.size() && !send_piece(flight, task.piece)) return;
    {
      const std::lock_guard<std::mutex> lock(flight.mutex);
      if (task.piece < flight.etags.size() && --flight.left > 0) return;
    }
    end(flight);
  }

  static bool needs_renewal(Flight& flight) {
    const std::lock_guard<std::mutex> lock(flight.mutex);
    return flight.renew;
  }

  static const InputFile& open(Flight& flight) {
    const std::lock_guard<std::mutex> lock(flight.mutex);
    if (!flight.file) {
      flight.file.emplace(flight.object.file->path);
      require_same(flight);
    }
    return *flight.file;
  }

  static void require_same(const Flight& flight) {
    const LocalFile& local = *flight.object.file;
    if (flight.file->stamp() == local.stamp) return;
    throw Error(ErrorKind::kTemporary, "it changed while it was being sent")
        .in_file(escape_name(local.path))
        .hint("try again");
  }

  // Returns false if new links are needed.
  bool send_piece(Flight& flight, std::size_t piece) {
    const InputFile& file = open(flight);
    const bool multipart = !flight.upload.pieces.empty();
    const std::uint64_t begin = multipart ? piece * flight.upload.chunk_size : 0;
    HttpRequest request;
    request.method = "PUT";
    request.url =
        at_endpoint(multipart ? flight.upload.pieces[piece] : flight.upload.href, api_.session().endpoint());
    if (!multipart) request.headers = flight.upload.headers;
    std::uint64_t reported = 0;
    request.body =
        HttpBody{piece_size(flight, piece), [&, begin](std::uint64_t at, std::span<std::byte> out) {
                   file.read_at(begin + at, out);
                   // Bytes that go out again after a failure are not progress.
                   if (at + out.size() <= reported) return;
                   if (options_.on_bytes) options_.on_bytes(at + out.size() - reported);
                   reported = at + out.size();
                 }};
    const HttpResponse response = api_.session().send_url(std::move(request), false);
    if (!response.ok()) return refused(flight, response);
    const std::string* etag = response.header("etag");
    if (multipart && (etag == nullptr || etag->empty()))
      throw Error(ErrorKind::kRemote, "the storage returned no ETag for a piece")
          .in_file(escape_name(flight.object.file->name));
    sent_ += piece_size(flight, piece);
    const std::lock_guard<std::mutex> lock(flight.mutex);
    flight.etags[piece] = etag == nullptr ? "-" : *etag;
    if (multipart && flight.upload.expires > 0) journal_.add_piece(flight.object.oid, piece, *etag);
    return true;
  }

  [[nodiscard]] Error refusal(std::string_view what, const HttpResponse& response) const {
    const std::string message = api_.session().masked(hub_message(response));
    return {may_pass(response) ? ErrorKind::kTemporary : ErrorKind::kRemote,
            fmt::format("{} {}{}{}", what, response.status, message.empty() ? "" : ": ", message)};
  }

  bool refused(Flight& flight, const HttpResponse& response) {
    const Error error = refusal("the storage answers", response);
    if (response.status != 400 && response.status != 403 && response.status != 404)
      throw Error(error).in_file(escape_name(flight.object.file->name));
    const std::lock_guard<std::mutex> lock(flight.mutex);
    flight.renew = true;
    const std::lock_guard<std::mutex> note(refusal_mutex_);
    last_refusal_ = error.message();
    return false;
  }

  void end(Flight& flight) {
    if (flight.file) require_same(flight);
    if (!flight.upload.pieces.empty() && !complete(flight)) return;
    if (!flight.upload.verify_href.empty()) verify(flight);
    journal_.forget(flight.object.oid);
    {
      const std::lock_guard<std::mutex> lock(flight.mutex);
      flight.file.reset();
    }
    detail(flight.object, "stored");
  }

  bool complete(Flight& flight) {
    std::string body;
    JsonWriter json(body, 0);
    json.begin_object().member("oid", flight.object.oid).key("parts").begin_array();
    for (std::size_t i = 0; i < flight.etags.size(); ++i)
      json.begin_object().member("partNumber", i + 1).member("etag", flight.etags[i]).end_object();
    json.end_array().end_object();
    // The link is signed by its query: the token must not go there.
    const HttpResponse response = post(flight.upload.href, {}, std::move(body), false);
    return response.ok() || refused(flight, response);
  }

  void verify(const Flight& flight) {
    std::string body;
    JsonWriter(body, 0)
        .begin_object()
        .member("oid", flight.object.oid)
        .member("size", flight.object.size)
        .end_object();
    const HttpResponse response =
        post(flight.upload.verify_href, flight.upload.verify_headers, std::move(body), true);
    if (response.ok()) return;
    throw refusal("asked to verify the upload, the hub answers", response)
        .in_file(escape_name(flight.object.file->name));
  }

  HttpResponse post(const std::string& url, std::vector<HttpHeader> headers, std::string body,
                    bool authorized) {
    HttpRequest request;
    request.method = "POST";
    request.url = at_endpoint(url, api_.session().endpoint());
    request.headers = std::move(headers);
    request.headers.push_back({"Content-Type", std::string(kLfsJson)});
    request.headers.push_back({"Accept", std::string(kLfsJson)});
    request.body = text_body(std::move(body));
    return api_.session().send_url(std::move(request), authorized);
  }

  void count(std::atomic<std::uint64_t>& counter, std::uint64_t bytes) {
    counter += bytes;
    if (options_.on_bytes) options_.on_bytes(bytes);
  }
  void detail(const LfsObject& object, std::string_view what) const {
    if (options_.detail)
      options_.detail(
          fmt::format("{} ({}) {}", escape_name(object.file->name), format_size(object.size), what));
  }

  HubApi& api_;
  Journal& journal_;
  const UploadOptions& options_;
  std::atomic<std::uint64_t> sent_{0}, stored_{0};
  std::mutex refusal_mutex_;
  std::string last_refusal_;
};

}  // namespace

std::uint64_t count_missing(HubApi& api, const std::vector<LfsObject>& objects, const std::string& revision) {
  std::uint64_t bytes = 0;
  in_groups(objects, [&](const std::vector<LfsObject>& group) {
    for (const LfsUpload& upload : ask(api, group, revision)) bytes += upload.href.empty() ? 0 : upload.size;
  });
  return bytes;
}

UploadCounts upload_objects(HubApi& api, Journal& journal, const std::vector<LfsObject>& objects,
                            const UploadOptions& options) {
  return Uploader(api, journal, options).run(objects);
}

}  // namespace mu
