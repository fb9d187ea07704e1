// SPDX-License-Identifier: Apache-2.0
#include "net/environment.h"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <functional>

#include "base/error.h"
#include "base/text.h"
#include "net/url.h"
#include "os/file.h"
#include "os/folder.h"

namespace mu {
namespace {

constexpr std::uint64_t kMaxTokenFile = 1U << 20;  // bytes

bool is_absolute(const std::string& path) {
  return path.starts_with('/');
}

std::string home_of_list(const passwd* user) {
  return user == nullptr || user->pw_dir == nullptr ? std::string() : std::string(user->pw_dir);
}

// HOME, else the folder in the system's list of users; empty if neither is known.
std::string user_home() {
  const std::string set = environment("HOME");
  return is_absolute(set) ? set : home_of_list(::getpwuid(::getuid()));
}

// A folder for our own files; empty if none is known. The specification asks for absolute paths.
std::string user_folder(const char* variable, std::string_view below_home) {
  if (std::string set = environment(variable); is_absolute(set)) return set;
  const std::string home = user_home();
  return is_absolute(home) ? join_path(home, below_home) : "";
}

// "~" and "~user" at the beginning, as Python's os.path.expanduser.
std::string expand_user(const std::string& path) {
  if (!path.starts_with('~')) return path;
  const std::size_t end = std::min(path.find('/'), path.size());
  std::string home;
  if (end > 1) {
    home = home_of_list(::getpwnam(path.substr(1, end - 1).c_str()));
  } else {
    const char* const set = std::getenv("HOME");
    home = set != nullptr ? std::string(set) : home_of_list(::getpwuid(::getuid()));
    if (set == nullptr && home.empty()) return path;
  }
  if (end > 1 && home.empty()) return path;
  while (home.ends_with('/')) home.pop_back();
  home += path.substr(end);
  return home.empty() ? "/" : home;
}

// "$VAR" and "${VAR}", as Python's os.path.expandvars: unset variables stay as they are written, values are
// not expanded again.
std::string expand_variables(const std::string& path) {
  std::string out;
  for (std::size_t i = 0; i < path.size();) {
    if (path[i] != '$') {
      out += path[i++];
      continue;
    }
    const bool braced = i + 1 < path.size() && path[i + 1] == '{';
    const std::size_t begin = i + (braced ? 2 : 1);
    std::size_t end = begin;
    while (end < path.size() &&
           (braced ? path[end] != '}'
                   : std::isalnum(static_cast<unsigned char>(path[end])) != 0 || path[end] == '_'))
      ++end;
    const std::size_t next = end + (braced ? 1 : 0);
    const char* const value =
        next > path.size() || end == begin ? nullptr : std::getenv(path.substr(begin, end - begin).c_str());
    if (value == nullptr) {
      out += path[i++];
      continue;
    }
    out += value;
    i = next;
  }
  return out;
}

std::string expand(const std::string& path) {
  return expand_variables(expand_user(path));
}

// A variable as os.getenv returns it: one that is set to an empty text is set.
std::string set_or(const char* name, const std::function<std::string()>& otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr ? otherwise() : std::string(value);
}

Token make_token(std::string value, std::string source) {
  if (std::any_of(value.begin(), value.end(), [](unsigned char c) { return c < ' ' || c == 0x7F; }))
    throw usage(
        fmt::format("the token in {} contains a line break or control character", escape_name(source)))
        .hint("copy it again");
  return {std::move(value), std::move(source), 0};
}

}  // namespace

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

bool environment_is_true(const char* name) {
  std::string value = environment(name);
  std::transform(value.begin(), value.end(), value.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

std::string parse_endpoint(std::string_view text, std::string_view source) {
  if (text.starts_with("file:")) return std::string(text);
  std::string endpoint(text);
  while (endpoint.ends_with('/')) endpoint.pop_back();
  const bool has_scheme = text.find("://") != std::string_view::npos;
  try {
    if (parse_url(endpoint).target.find('?') == std::string::npos) return endpoint;
  } catch (const Error&) {  // the hint below explains it
  }
  throw usage(fmt::format("{}: '{}' is not the address of a hub", source, printable_url(text)))
      .hint(has_scheme ? "an address is https://HOST, http://HOST:PORT or file://DIR"
                       : fmt::format("with its scheme it is https://{}", printable_url(text)));
}

std::string hub_endpoint() {
  const std::string set = environment("HF_ENDPOINT");
  return set.empty() ? "https://huggingface.co" : parse_endpoint(set, "HF_ENDPOINT");
}

std::string hub_home() {
  return expand(set_or("HF_HOME", [] {
    return join_path(set_or("XDG_CACHE_HOME", [] { return join_path(expand_user("~"), ".cache"); }),
                     "huggingface");
  }));
}

std::string hub_cache_home() {
  return expand(set_or("HF_HUB_CACHE", [] {
    return set_or("HUGGINGFACE_HUB_CACHE", [] { return join_path(hub_home(), "hub"); });
  }));
}

std::optional<std::string> cache_of_endpoint(std::string_view endpoint) {
  constexpr std::string_view kScheme = "file:";
  if (!endpoint.starts_with(kScheme)) return std::nullopt;
  std::string_view path = endpoint.substr(kScheme.size());
  if (path.starts_with("//")) path.remove_prefix(2);
  const std::string folder = path.empty() ? hub_cache_home() : tidy_path(std::string(path));
  if (path.empty() && folder.starts_with('~'))
    throw usage("can't find your cache: HOME is not set").hint("use file://DIR, or set HF_HOME");
  return folder.starts_with('/') ? folder : join_path(tidy_path("."), folder);
}

bool is_offline() {
  return environment_is_true(environment("HF_HUB_OFFLINE").empty() ? "TRANSFORMERS_OFFLINE"
                                                                   : "HF_HUB_OFFLINE");
}

std::string cache_home() {
  const std::string folder = user_folder("XDG_CACHE_HOME", ".cache");
  return folder.empty() ? "" : join_path(folder, "modelutils");
}

std::string state_home() {
  const std::string folder = user_folder("XDG_STATE_HOME", ".local/state");
  return folder.empty() ? "" : join_path(folder, "modelutils");
}

std::optional<Token> read_token_file(const std::string& path) {
  const std::string text = read_whole_file(path, kMaxTokenFile);
  std::string value(trim(text));
  if (value.empty()) return std::nullopt;
  return make_token(std::move(value), path);
}

std::optional<Token> find_token() {
  if (environment_is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return std::nullopt;
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    if (std::string value(trim(environment(name))); !value.empty()) return make_token(std::move(value), name);
  }
  const std::string named = environment("HF_TOKEN_PATH");
  const std::string path = named.empty() ? join_path(hub_home(), "token") : expand(named);
  return is_in_reach(path) ? read_token_file(path) : std::nullopt;
}

std::optional<double> token_expiry(const std::string& token) {
  const std::string named = environment("HF_STORED_TOKENS_PATH");
  const std::string path = named.empty() ? join_path(hub_home(), "stored_tokens") : expand(named);
  if (!is_in_reach(path)) return std::nullopt;
  const std::string text = read_whole_file(path, kMaxTokenFile);
  bool ours = false;
  std::optional<double> expiry;
  for (const std::string_view raw : split(text, '\n')) {
    const std::string_view line = trim(raw);
    if (line.starts_with('[')) {
      if (ours) break;
      expiry.reset();
      continue;
    }
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view key = trim(line.substr(0, equals));
    const std::string value(trim(line.substr(equals + 1)));
    if (key == "hf_token") ours = value == token;
    if (key == "expires_at") expiry = std::strtod(value.c_str(), nullptr);
  }
  return ours ? expiry : std::nullopt;
}

std::string upper_case_proxy(std::string_view url) {
  // Under CGI a client can set HTTP_PROXY by a header (CVE-2016-5385).
  if (!url.starts_with("http://") || !environment("http_proxy").empty() ||
      !environment("REQUEST_METHOD").empty())
    return "";
  return environment("HTTP_PROXY");
}

bool needs_certificates(std::string_view url) {
  if (url.starts_with("https://")) return true;
  for (const char* name : {"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"}) {
    if (lower_ascii(environment(name)).starts_with("https://")) return true;
  }
  return false;
}

}  // namespace mu
