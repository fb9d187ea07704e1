// SPDX-License-Identifier: Apache-2.0
#include "net/libcurl.h"

#include <dlfcn.h>
#include <unistd.h>

#include <array>
#include <string>
#include <string_view>

#include "base/error.h"

// The header checks the arguments of calls by macros, which would catch the members of the same name.
#undef curl_easy_setopt
#undef curl_easy_getinfo

namespace mu {
namespace {

// ../lib/modelutils/libcurl.so.4 as seen from the folder of the running program: where a package that can't
// name libcurl as a dependency (the Python wheel) carries one. Empty if the program's own path is not known.
std::string bundled() {
  std::array<char, 4096> buffer{};
  const ssize_t size = ::readlink("/proc/self/exe", buffer.data(), buffer.size());
  if (size <= 0 || static_cast<size_t>(size) == buffer.size()) return {};
  const std::string_view program(buffer.data(), static_cast<size_t>(size));
  const std::string path =
      std::string(program.substr(0, program.rfind('/'))) + "/../lib/modelutils/libcurl.so.4";
  return ::access(path.c_str(), R_OK) == 0 ? path : std::string();
}

Libcurl load() {
  const std::string beside = bundled();
  void* library = ::dlopen(beside.empty() ? "libcurl.so.4" : beside.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr && !beside.empty()) library = ::dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr)
    throw Error(ErrorKind::kIo, "libcurl is not installed")
        .hint("install libcurl4 (or libcurl.so.4 by its name here)");
  const auto find = [library]<typename Function>(Function& function, const char* name) {
    function = reinterpret_cast<Function>(::dlsym(library, name));
    if (function == nullptr)
      throw Error(ErrorKind::kIo, std::string("libcurl is too old: it has no ") + name)
          .hint("7.66 or newer is needed");
  };
  Libcurl curl{};
  decltype(&::curl_global_init) global_init = nullptr;
  find(global_init, "curl_global_init");
  find(curl.easy_init, "curl_easy_init");
  find(curl.easy_setopt, "curl_easy_setopt");
  find(curl.easy_getinfo, "curl_easy_getinfo");
  find(curl.easy_reset, "curl_easy_reset");
  find(curl.easy_cleanup, "curl_easy_cleanup");
  find(curl.easy_strerror, "curl_easy_strerror");
  find(curl.multi_init, "curl_multi_init");
  find(curl.multi_add_handle, "curl_multi_add_handle");
  find(curl.multi_remove_handle, "curl_multi_remove_handle");
  find(curl.multi_perform, "curl_multi_perform");
  find(curl.multi_poll, "curl_multi_poll");
  find(curl.multi_info_read, "curl_multi_info_read");
  find(curl.multi_cleanup, "curl_multi_cleanup");
  find(curl.slist_append, "curl_slist_append");
  find(curl.slist_free_all, "curl_slist_free_all");
  find(curl.version_info, "curl_version_info");
  if (global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) throw Error(ErrorKind::kIo, "libcurl can't be started");
  return curl;
}

}  // namespace

const Libcurl& libcurl() {
  static const Libcurl loaded = load();
  return loaded;
}

}  // namespace mu
