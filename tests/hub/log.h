// SPDX-License-Identifier: Apache-2.0
// Every request, for tests to assert on: JSON objects, in the order in which their answers were ready.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "http.h"

namespace hub {

struct LogEntry {
  std::string port;   // "hub" or "storage"
  std::string route;  // see routes.h
  std::string fault;  // kind of the fault that was played, or ""
  std::string repo;   // "model/ada/tiny", or ""
  bool leak = false;  // a known token stood where it must not
  int status = 0;     // 0: the connection broke or was broken
  std::uint64_t begin_ms = 0, end_ms = 0;
  std::uint64_t answer_bytes = 0, in_flight = 0;
  std::string request_id;
};

class Log {
 public:
  // Appends JSON lines to `file` as well, when it is not empty. Throws mu::Error kIo.
  void open(const std::string& file);
  void add(const Request& request, const LogEntry& entry);
  std::string json();  // an array
  void clear();

 private:
  struct Line {
    std::string text;  // without the end of the object
    std::shared_ptr<const std::atomic<std::uint64_t>>
        sent;  // goes on while the answer is written; null: none
  };
  std::mutex mutex_;
  std::vector<Line> lines_;
  mu::Fd file_;
  std::uint64_t next_ = 1;
};

}  // namespace hub
