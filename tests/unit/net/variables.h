// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mu {

// Sets variables for a test (nullptr: unset) and unsets all others that net/ reads there; puts back what was.
class Variables {
 public:
  explicit Variables(const std::map<std::string, const char*>& wanted) {
    for (const char* name :
         {"HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "XDG_STATE_HOME",
          "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE",
          "REQUESTS_CA_BUNDLE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"}) {
      const char* const old = std::getenv(name);
      old_.emplace_back(name, old == nullptr ? std::optional<std::string>() : std::string(old));
      ::unsetenv(name);
    }
    for (const auto& [name, value] : wanted) {
      if (value != nullptr) ::setenv(name.c_str(), value, 1);
    }
  }
  Variables(const char* name, const char* value)
      : Variables(std::map<std::string, const char*>{{name, value}}) {}
  ~Variables() {
    for (const auto& [name, value] : old_) {
      if (value)
        ::setenv(name.c_str(), value->c_str(), 1);
      else
        ::unsetenv(name.c_str());
    }
  }
  Variables(const Variables&) = delete;
  Variables& operator=(const Variables&) = delete;

 private:
  std::vector<std::pair<std::string, std::optional<std::string>>> old_;
};

}  // namespace mu
