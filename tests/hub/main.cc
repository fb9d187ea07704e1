// SPDX-License-Identifier: Apache-2.0
// test_hub: a strict local Hugging Face Hub for tests. README.md tells its options, admin calls and faults.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>

#include "base/error.h"
#include "base/sizes.h"
#include "base/text.h"
#include "routes.h"

namespace {

using namespace hub;

struct Options {
  std::string host = "127.0.0.1", log;
  int port = 0, storage_port = 0;
};

// TOKEN=USER:ROLE[:ORG,ORG...]
void add_token(Hub& hub, const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos) throw mu::usage("--token takes TOKEN=USER:ROLE[:ORG,...]");
  const std::string rest = text.substr(equals + 1);
  const std::vector<std::string_view> parts = mu::split(rest, ':');
  if (parts.size() < 2 || (parts[1] != "write" && parts[1] != "read" && parts[1] != "pr"))
    throw mu::usage("a role is write, read or pr");
  Account account{std::string(parts[0]), std::string(parts[1]), {}};
  if (parts.size() > 2)
    for (const std::string_view org : mu::split(parts[2], ',')) account.orgs.emplace(org);
  hub.tokens[text.substr(0, equals)] = account;
}

int port_number(const std::string& text) {
  int port = -1;
  std::from_chars(text.data(), text.data() + text.size(), port);
  if (port < 0 || port > 65535) throw mu::usage("no port: " + text);
  return port;
}

void read_options(int count, char** words, Hub& hub, Options& options) {
  Config& config = hub.config;
  for (int i = 1; i < count; ++i) {
    const std::string name = words[i];
    if (name == "--discard" || name == "--link-etags" || name == "--no-verify") {
      if (name == "--discard") config.discard = true;
      if (name == "--link-etags") config.link_etags = true;
      if (name == "--no-verify") config.verify_action = false;
      continue;
    }
    if (i + 1 == count) throw mu::usage(name + " needs a value, or there is no such option");
    const std::string value = words[++i];
    if (name == "--port")
      options.port = port_number(value);
    else if (name == "--storage-port")
      options.storage_port = port_number(value);
    else if (name == "--host")
      options.host = value;
    else if (name == "--log")
      options.log = value;
    else if (name == "--profile" && (value == "hub" || value == "kohaku"))
      config.kohaku = value == "kohaku";
    else if (name == "--prefix")
      config.path_prefix = value;
    else if (name == "--token")
      add_token(hub, value);
    else if (name == "--data")
      config.data = value;
    else if (name == "--lfs-threshold")
      config.lfs_threshold = mu::parse_size(value);
    else if (name == "--multipart")
      config.multipart_threshold = mu::parse_size(value);
    else if (name == "--chunk")
      config.chunk_size = mu::parse_size(value);
    else if (name == "--folder-limit")
      config.folder_limit = mu::parse_size(value);
    else if (name == "--page")
      config.page_size = mu::parse_size(value);
    else if (name == "--link-seconds")
      config.link_seconds = mu::parse_size(value);
    else if (name == "--rate")
      config.rate = mu::parse_size(value);
    else if (name == "--latency")
      config.latency = std::chrono::milliseconds(mu::parse_size(value));
    else if (name == "--quota")
      config.quota = mu::parse_size(value);
    else if (name == "--window")
      config.window_seconds = mu::parse_size(value);
    else
      throw mu::usage("no such option: " + name + " " + value);
  }
  if (config.kohaku) config.regular_limit = 5'000'000;
  if (config.lfs_threshold == 0) config.lfs_threshold = config.regular_limit;
  if (config.chunk_size == 0 || config.page_size == 0 || config.window_seconds == 0)
    throw mu::usage("--chunk, --page and --window must not be 0");
}

int run(int count, char** words) {
  // Never outlives the test that started it.
  const pid_t parent = ::getppid();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) return 1;
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &ends, nullptr);  // before there are threads
  ::signal(SIGPIPE, SIG_IGN);

  // A connection and a large object take a descriptor each.
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);

  // Threads of connections use it until the process ends, so nothing takes it apart.
  Hub& hub = *new Hub;
  Options options;
  add_token(hub, "hf_testwrite=ada:write:acme");
  add_token(hub, "hf_testread=ada:read:acme");
  add_token(hub, "hf_testpr=bob:pr");
  read_options(count, words, hub, options);
  if (!options.log.empty()) hub.log.open(options.log);
  const std::shared_ptr<Pace> pace = hub.config.rate ? std::make_shared<Pace>(hub.config.rate) : nullptr;
  auto& front = *new HttpServer(
      options.host, options.port, [&hub](Request& request) { return serve_hub(hub, request); }, pace);
  auto& storage = *new HttpServer(
      options.host, options.storage_port, [&hub](Request& request) { return serve_storage(hub, request); },
      pace);
  hub.url = fmt::format("http://{}:{}{}", options.host, front.port(), hub.config.path_prefix);
  hub.storage_url = fmt::format("http://{}:{}", options.host, storage.port());
  front.start();
  storage.start();
  fmt::print("HUB={} STORAGE={}\n", hub.url, hub.storage_url);
  std::fflush(stdout);
  int signal = 0;
  ::sigwait(&ends, &signal);
  ::_exit(0);
}

}  // namespace

int main(int count, char** words) {
  try {
    return run(count, words);
  } catch (const mu::Error& error) {
    fmt::print(stderr, "test_hub: {}\n", error.what());
    return mu::exit_code(error.kind());
  }
}
