// SPDX-License-Identifier: Apache-2.0
// What the environment says about hubs and networks, in the variables of huggingface_hub and curl.
// Source: huggingface_hub 2.4.0 (constants.py, utils/_auth.py).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mu {

// The value of a variable; empty if it is unset.
std::string environment(const char* name);
// Whether a variable is 1, ON, YES or TRUE, in any case.
bool environment_is_true(const char* name);

// Checks the address of a hub as a user wrote it (http, https, or file: for a cache folder), and returns it
// without trailing slashes. Throws kUsage for anything else, naming its `source` ("--endpoint").
std::string parse_endpoint(std::string_view text, std::string_view source);
// HF_ENDPOINT, else https://huggingface.co. Throws as parse_endpoint does.
std::string hub_endpoint();
// The folder of the Hugging Face libraries, and the cache of models in it. The only reading of HF_HOME,
// XDG_CACHE_HOME, HF_HUB_CACHE and HUGGINGFACE_HUB_CACHE; they mean what they mean to huggingface_hub, "~"
// and "$VAR" are expanded, and the result may be relative, as there.
std::string hub_home();
std::string hub_cache_home();
// The cache folder of an endpoint "file://DIR"; hub_cache_home() for "file://" alone. Nothing for other
// endpoints. Throws kUsage where the home is not known.
std::optional<std::string> cache_of_endpoint(std::string_view endpoint);
// HF_HUB_OFFLINE; if that is unset or empty, TRANSFORMERS_OFFLINE.
bool is_offline();

// The user's folders for our own files (XDG Base Directory): caches, and state that should outlive a reboot.
// Without HOME the system's list of users counts. Empty if neither is known: then nothing is kept.
std::string cache_home();  // …/modelutils
std::string state_home();  // …/modelutils

struct Token {
  std::string value;   // never printed
  std::string source;  // "HF_TOKEN", or the file
  double expires = 0;  // Unix seconds; 0: not known
};
// The token in HF_TOKEN, HUGGING_FACE_HUB_TOKEN, or the file HF_TOKEN_PATH or HF_HOME/token; nothing with
// HF_HUB_DISABLE_IMPLICIT_TOKEN. Throws kIo for a file that can't be read, kUsage for a token that contains a
// line break.
std::optional<Token> find_token();
// The token in a file, without blanks and line ends around it; nothing if the file is empty.
std::optional<Token> read_token_file(const std::string& path);

// For a token of a browser login: when it expires (Unix seconds).
std::optional<double> token_expiry(const std::string& token);

// libcurl reads http_proxy in lower case alone; this is HTTP_PROXY where only that is set and `url` is plain
// http. Empty otherwise.
std::string upper_case_proxy(std::string_view url);
// Whether an exchange speaks TLS, with the server or with a proxy that a variable names.
bool needs_certificates(std::string_view url);

}  // namespace mu
