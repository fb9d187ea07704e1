// SPDX-License-Identifier: Apache-2.0
#include "remote.h"

#include <optional>

#include "cli/console.h"
#include "hub/cache_layout.h"
#include "hub/connection.h"
#include "hub/remote.h"
#include "net/environment.h"
#include "os/far.h"
#include "weights/digest.h"

namespace mu {
namespace {

constexpr unsigned kConnections = 32;
constexpr unsigned kMaxWait = 30;  // seconds, for a server that fails: somebody sits before the screen

// SHA-256 of files by name: what hubs told, and what was hashed to compare with it.
RemoteHashes& hashes() {
  static RemoteHashes known;
  return known;
}

// Made when the first remote name is seen, kept while anything may be read.
HubSession& session() {
  static std::optional<HubConnection> connection;
  if (!connection) {
    ConnectionOptions options;
    options.user_agent = console().program + "/" MU_VERSION;
    options.max_wait_s = kMaxWait;
    options.warn = print_warning;
    if (console().verbose >= 2) options.trace = [](const std::string& line) { print_detail(line); };
    connection.emplace(options);
  }
  return connection->session();
}

}  // namespace

void reach(const std::string& operand) {
  if (!is_far_name(operand)) return;
  const std::optional<std::string> cache = cache_of_endpoint(hub_endpoint());
  if (operand.starts_with("hf://") && (cache || is_offline()))
    return hang_in_cached(cache.value_or(hub_cache_home()), parse_place(operand));
  hashes().merge(hang_in_remote(session(), operand, kConnections));
}

std::set<std::pair<std::size_t, std::size_t>> same_files(const Weights& a, const Weights& b) {
  std::set<std::pair<std::size_t, std::size_t>> same;
  if (hashes().empty()) return same;
  const auto told = [](const WeightsFile& file) { return hashes().contains(file.name); };
  const auto hash_of = [](const WeightsFile& file) -> const std::string& {
    std::string& hash = hashes()[file.name];
    if (hash.empty() && file.file) hash = file_hash(*file.file, [](std::uint64_t) {});
    return hash;
  };
  for (std::size_t i = 0; i < a.files.size(); ++i) {
    for (std::size_t k = 0; k < b.files.size(); ++k) {
      const WeightsFile &left = a.files[i], &right = b.files[k];
      if (left.size != right.size || !(told(left) || told(right))) continue;
      if (const std::string& hash = hash_of(left); !hash.empty() && hash == hash_of(right))
        same.emplace(i, k);
    }
  }
  return same;
}

}  // namespace mu
