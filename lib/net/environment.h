// SPDX-License-Identifier: Apache-2.0
// What the environment says about hubs and networks, with the names that huggingface_hub and curl gave it.
// Source: huggingface_hub 2.4.0 (constants.py, utils/_auth.py).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mu {

// The value of a variable, empty where it is unset.
std::string environment(const char* name);
// 1, ON, YES or TRUE in any case.
bool environment_is_true(const char* name);

// The address of a hub as a user wrote it, without trailing slashes: http, https, or file: for a cache folder.
// Throws kUsage for anything else, naming its `source` ("--endpoint").
std::string parse_endpoint(std::string_view text, std::string_view source);
// HF_ENDPOINT, else https://huggingface.co. Throws as parse_endpoint does.
std::string hub_endpoint();
// Where the libraries keep what is theirs, and the cache of models in it: HF_HOME, XDG_CACHE_HOME,
// HF_HUB_CACHE and HUGGINGFACE_HUB_CACHE with the meaning that huggingface_hub gives them, "~" and "$VAR"
// expanded. May be relative, as there.
std::string hub_home();
std::string hub_cache_home();
// The cache folder of an endpoint "file://DIR"; hub_cache_home() for "file://" alone. Nothing for other endpoints.
// Throws kUsage where the home is not known.
std::optional<std::string> cache_of_endpoint(std::string_view endpoint);
// HF_HUB_OFFLINE, where that is unset or empty TRANSFORMERS_OFFLINE.
bool is_offline();

// The user's folders for our own files (XDG Base Directory): caches, and state that should outlive a reboot.
// Without HOME as the system's list of users says; empty where nothing tells, then nothing is kept.
std::string cache_home();  // …/modelutils
std::string state_home();  // …/modelutils

struct Token {
  std::string value;   // never printed
  std::string source;  // "HF_TOKEN", or the file
  double expires = 0;  // Unix seconds; 0: nobody knows
};
// HF_TOKEN, HUGGING_FACE_HUB_TOKEN, the file HF_TOKEN_PATH or HF_HOME/token; none with
// HF_HUB_DISABLE_IMPLICIT_TOKEN. Throws kIo for a file that can't be read, kUsage for a token that would
// break the line of its header.
std::optional<Token> find_token();
// The token in a file, without blanks and line ends around it; none when it is empty.
std::optional<Token> read_token_file(const std::string& path);

// When the token was written by a browser login: the time (Unix seconds) after which it is no longer good.
std::optional<double> token_expiry(const std::string& token);

// SSL_CERT_FILE, CURL_CA_BUNDLE or REQUESTS_CA_BUNDLE (a file or a folder), else the first place where
// distributions keep certificates. Empty members: libcurl's own choice.
struct CaBundle {
  std::string file, folder;
};
CaBundle ca_bundle();

// libcurl reads http_proxy in lower case alone; this is HTTP_PROXY where only that is set and `url` is plain
// http. Empty otherwise.
std::string upper_case_proxy(std::string_view url);

}  // namespace mu
