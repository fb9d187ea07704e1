// SPDX-License-Identifier: Apache-2.0
// Misbehaviour on request: rules that catch the next requests of a route and spoil them. Rules come from
// POST /_admin/fault or from the name of a repository: one named "fault_ROUTE_KIND[_TIMES]" (KIND may be a
// status) misbehaves so from its creation on. README.md lists routes and kinds.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace hub {

struct Fault {
  std::string route = "*";  // of routes.h; "*": any of the Hub, "storage-*": any of storage
  std::string kind;
  std::int64_t times = 1;              // how many requests it spoils; -1: all
  std::int64_t after = 0;              // how many it lets pass before
  std::string match;                   // must stand in the raw target
  std::string repo;                    // "ada/tiny": only requests of this repository
  int status = 0;                      // of kinds status, status-after, late
  double seconds = 0;                  // of kinds that wait, and what Retry-After and t= say
  std::optional<std::uint64_t> bytes;  // where kinds cut; rate per second of kinds slow
  std::string message, code, location;
  bool early = false;  // answer before the body was read
};

class Faults {
 public:
  // Throws mu::Error kUsage for a kind there is not or a member of the wrong type.
  void add(const mu::JsonValue& rule);
  void add_for_name(const std::string& repo_id);
  // The first rule that catches the request, used up by one.
  std::optional<Fault> take(std::string_view route, std::string_view target, std::string_view repo_id);
  void clear();
  std::size_t left();  // rules that still wait

 private:
  void add(Fault fault);

  std::mutex mutex_;
  std::vector<Fault> rules_;
};

}  // namespace hub
