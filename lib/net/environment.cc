// SPDX-License-Identifier: Apache-2.0
#include "net/environment.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>

#include "base/error.h"
#include "base/text.h"
#include "os/file.h"
#include "os/folder.h"

namespace mu {
namespace {

constexpr std::uint64_t kMaxTokenFile = 1U << 20;  // bytes

std::string user_folder(const char* variable, std::string_view below_home) {
  const std::string set = environment(variable);
  if (!set.empty() && set.front() == '/') return set;  // the specification asks for absolute paths
  return join_path(environment("HOME"), below_home);
}

// "~/x" and "$VAR/x" as a shell would expand them.
std::string expand(std::string path) {
  if (path == "~" || path.starts_with("~/")) path.replace(0, 1, environment("HOME"));
  std::string out;
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '$') {
      out += path[i];
      continue;
    }
    const bool braced = i + 1 < path.size() && path[i + 1] == '{';
    std::size_t end = i + (braced ? 2 : 1);
    const std::size_t begin = end;
    while (end < path.size() &&
           (std::isalnum(static_cast<unsigned char>(path[end])) != 0 || path[end] == '_'))
      ++end;
    if (end == begin || (braced && (end >= path.size() || path[end] != '}'))) {
      out += path[i];
      continue;
    }
    out += environment(path.substr(begin, end - begin).c_str());
    i = braced ? end : end - 1;
  }
  return out;
}

std::string without_slash(std::string text) {
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
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

std::string hub_endpoint() {
  const std::string set = environment("HF_ENDPOINT");
  return set.empty() ? "https://huggingface.co" : without_slash(set);
}

std::string hub_home() {
  const std::string set = environment("HF_HOME");
  return set.empty() ? join_path(user_folder("XDG_CACHE_HOME", ".cache"), "huggingface") : expand(set);
}

bool is_offline() {
  return environment_is_true("HF_HUB_OFFLINE") || environment_is_true("TRANSFORMERS_OFFLINE");
}

std::string cache_home() {
  return join_path(user_folder("XDG_CACHE_HOME", ".cache"), "modelutils");
}

std::string state_home() {
  return join_path(user_folder("XDG_STATE_HOME", ".local/state"), "modelutils");
}

std::optional<Token> read_token_file(const std::string& path) {
  const std::string text = read_whole_file(path, kMaxTokenFile);
  std::string value(trim(text));
  std::erase_if(value, [](char c) { return c == '\r' || c == '\n'; });
  if (value.empty()) return std::nullopt;
  return Token{std::move(value), path, 0};
}

std::optional<Token> find_token() {
  if (environment_is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return std::nullopt;
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    if (std::string value(trim(environment(name))); !value.empty()) return Token{std::move(value), name, 0};
  }
  const std::string named = environment("HF_TOKEN_PATH");
  const std::string path = named.empty() ? join_path(hub_home(), "token") : expand(named);
  return exists(path) ? read_token_file(path) : std::nullopt;
}

std::optional<double> token_expiry(const std::string& token) {
  const std::string named = environment("HF_STORED_TOKENS_PATH");
  const std::string path = named.empty() ? join_path(hub_home(), "stored_tokens") : expand(named);
  if (!exists(path)) return std::nullopt;
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
    if (key == "expires_at") expiry = std::atof(value.c_str());
  }
  return ours ? expiry : std::nullopt;
}

CaBundle ca_bundle() {
  for (const char* name : {"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"}) {
    const std::string path = environment(name);
    if (path.empty()) continue;
    return is_folder(path) ? CaBundle{"", path} : CaBundle{path, ""};
  }
  constexpr std::array<const char*, 4> kPlaces = {"/etc/ssl/certs/ca-certificates.crt",
                                                  "/etc/pki/tls/certs/ca-bundle.crt",
                                                  "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"};
  for (const char* place : kPlaces) {
    if (exists(place)) return {place, ""};
  }
  return {};
}

std::string upper_case_proxy(std::string_view url) {
  // Under CGI a client can set HTTP_PROXY by a header (CVE-2016-5385).
  if (!url.starts_with("http://") || !environment("http_proxy").empty() ||
      !environment("REQUEST_METHOD").empty())
    return "";
  return environment("HTTP_PROXY");
}

}  // namespace mu
