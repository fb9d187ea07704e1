// SPDX-License-Identifier: Apache-2.0
#include "remote.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/error.h"
#include "base/text.h"
#include "cli/console.h"
#include "hub/connection.h"
#include "hub/remote.h"
#include "hub/repo.h"
#include "hub/repositories.h"
#include "hub/snapshot.h"
#include "hub/web_address.h"
#include "net/environment.h"
#include "net/url.h"
#include "os/far.h"
#include "os/file.h"
#include "os/folder.h"
#include "weights/digest.h"

namespace mu {
namespace {

constexpr unsigned kConnections = 32;
// Seconds: for a server that fails, unless --max-wait says: somebody is waiting; and for one that sends nothing,
// unless a variable of huggingface_hub says. One that is busy may take some to answer, whatever the patience.
constexpr unsigned kMaxWait = 30, kMinSilence = 5, kMaxSilence = 10;

// SHA-256 of files by name: what hubs reported, and what was hashed to compare with it.
RemoteHashes& hashes() {
  static RemoteHashes known;
  return known;
}

Repositories& repositories() {
  static Repositories all;
  return all;
}

// The snapshots of the libraries are looked for there; empty if no home is known.
std::string snapshots_folder() {
  try {
    return hub_cache_home();
  } catch (const Error&) {
    return "";
  }
}

RemoteOptions& remote_options() {
  static RemoteOptions options;
  return options;
}

// How long a server may send nothing before the request counts as failed, and is sent again.
unsigned max_silence(unsigned max_wait) {
  const std::string told = environment("HF_HUB_DOWNLOAD_TIMEOUT");
  unsigned seconds = 0;
  const std::from_chars_result parsed = std::from_chars(told.data(), told.data() + told.size(), seconds);
  if (parsed.ec == std::errc() && seconds > 0 && parsed.ptr == told.data() + told.size()) return seconds;
  return std::clamp(max_wait, kMinSilence, kMaxSilence);
}

// Made for the first remote name, kept while anything may be read.
HubSession& session() {
  static std::optional<HubConnection> connection;
  if (!connection) {
    ConnectionOptions options;
    options.user_agent = console().program + "/" MU_VERSION;
    options.endpoint = hub_endpoint();
    options.max_wait_s = remote_options().max_wait_s.value_or(kMaxWait);
    options.timeout_s = max_silence(*options.max_wait_s);
    options.rate = remote_options().limit_rate;
    options.warn = print_warning;
    if (console().verbose >= 2) options.trace = [](const std::string& line) { print_detail(line); };
    connection.emplace(options);
  }
  return connection->session();
}

// The name under which a URL or hf:// name is read. A URL of one file of weights stays a URL: it costs fewer
// requests than the repository, and need not be on a hub where its path has only two parts.
std::string far_name(const std::string& operand, const std::string& endpoint) {
  if (operand.starts_with("hf://")) return operand;
  const std::optional<WebAddress> address = read_web_address(operand, endpoint);
  if (!address) return operand;
  const bool is_bytes = address->page.empty() || address->page == "resolve";
  for (const std::string_view suffix : {".safetensors", ".gguf", ".bin", ".pt", ".pth", ".npy", ".npz"}) {
    if (is_bytes && address->place.ends_with(suffix)) return operand;
  }
  return address->place;
}

}  // namespace

void set_remote_options(const RemoteOptions& options) {
  remote_options() = options;
}

int reaching(const Reaching& how, const std::function<int()>& work) {
  repositories().set({true, how.once ? "" : snapshots_folder(), how.pins, how.writes_pins, print_note});
  try {
    int code = 0;
    try {
      code = work();
    } catch (const SnapshotLacks&) {
      repositories().drop_snapshots();
      code = work();
    }
    repositories().report_snapshots();
    return code;
  } catch (...) {
    repositories().remove_pins();
    throw;
  }
}

std::string reach(const std::string& operand) {
  if (!is_far_name(operand)) return operand;
  const std::string endpoint = hub_endpoint();
  const std::string name = far_name(operand, endpoint);
  const std::optional<std::string> cache = cache_of_endpoint(endpoint);
  const unsigned headers_at_once =
      remote_options().connections == 0 ? kConnections : remote_options().connections;
  if (!name.starts_with("hf://")) {
    if (const std::string note = mount_url(session(), name); !note.empty())
      print_warning(fmt::format("{}: {}", printable_url(name), note));
  } else if (cache || is_offline()) {
    repositories().mount_offline(cache ? *cache : hub_cache_home(), parse_place(name));
  } else {
    hashes().merge(repositories().mount(session(), parse_place(name), headers_at_once));
  }
  return name;
}

void require_output_here(const std::string& output) {
  if (is_far_name(output))
    throw usage("OUT is on this machine, so it can't be " + quoted_name(output))
        .hint("write here, then publish with hub-push");
}

std::optional<std::string> name_on_hub(const std::string& path) {
  if (is_far_name(path) || is_in_reach(path) || is_in_reach(parent_of(path))) return std::nullopt;
  try {
    if (const std::optional<WebAddress> address = read_web_address("https://" + path, hub_endpoint()))
      return address->place;
    if (parse_repo(path, std::nullopt).has_owner()) return "hf://" + path;
  } catch (const Error&) {  // not a name of a repository
  }
  return std::nullopt;
}

Input open_operand(const std::string& operand, StreamData data, const FolderOptions& options) {
  return with_hub_hint(operand, [&] { return open_input(reach(operand), data, options); });
}

std::set<std::pair<std::size_t, std::size_t>> same_files(const Weights& a, const Weights& b) {
  std::set<std::pair<std::size_t, std::size_t>> same;
  if (hashes().empty()) return same;
  const auto reported = [](const WeightsFile& file) { return hashes().contains(file.name); };
  const auto hash_of = [](const WeightsFile& file) -> const std::string& {
    std::string& hash = hashes()[file.name];
    if (hash.empty() && file.file) hash = file_hash(*file.file, [](std::uint64_t) {});
    return hash;
  };
  for (std::size_t i = 0; i < a.files.size(); ++i) {
    for (std::size_t k = 0; k < b.files.size(); ++k) {
      const WeightsFile &left = a.files[i], &right = b.files[k];
      if (left.size != right.size || !(reported(left) || reported(right))) continue;
      if (const std::string& hash = hash_of(left); !hash.empty() && hash == hash_of(right))
        same.emplace(i, k);
    }
  }
  return same;
}

}  // namespace mu
