// SPDX-License-Identifier: Apache-2.0
// What is known of uploads in parts that are under way, so that a push that was killed sends only the parts
// that are missing: JSON lines in the user's state folder, never in the folder pushed. Readable by the user
// alone, since links to storage are secrets.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/http.h"
#include "os/file.h"
#include "os/lock.h"

namespace mu {

// How to bring one object into storage.
struct LfsUpload {
  std::string oid;
  std::uint64_t size = 0;  // bytes
  std::string href;        // empty: the hub has it already. PUT of the bytes, or POST that ends the parts
  std::vector<HttpHeader> headers;  // of the PUT
  std::vector<std::string> parts;   // PUT of each `chunk_size` bytes; empty: one PUT
  std::uint64_t chunk_size = 0;
  std::string verify_href;
  std::vector<HttpHeader> verify_headers;
  double expires = 0;  // Unix seconds; 0: not told
};

class Journal {
 public:
  // Reads the file and takes its lock. Throws kTemporary when another push to the same place runs. A journal
  // that can't be written, or has no path, is none: fault() tells why, and the push goes on without.
  explicit Journal(const std::string& path);

  // An upload in parts that can go on, if its links live for another minute; with it the entity tags of the
  // parts that are there, by number from 0.
  struct Saved {
    LfsUpload upload;
    std::map<std::size_t, std::string> etags;
  };
  [[nodiscard]] std::optional<Saved> find(const std::string& oid, double now) const;

  void begin(const LfsUpload& upload);
  void add_part(const std::string& oid, std::size_t part, const std::string& etag);
  void forget(const std::string& oid);
  // After a push that is whole.
  void remove();

  [[nodiscard]] std::string fault() const;

 private:
  void read(std::string_view text);
  void append(const std::string& line);

  std::string path_;
  std::optional<FileLock> lock_;
  mutable std::mutex mutex_;
  Fd fd_;
  std::string fault_;
  std::map<std::string, Saved> saved_;
};

}  // namespace mu
