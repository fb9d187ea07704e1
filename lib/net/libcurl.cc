// SPDX-License-Identifier: Apache-2.0
#include "net/libcurl.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "net/libcurl_version.h"

// The header checks the arguments of calls by macros, which would catch the members of the same name.
#undef curl_easy_setopt
#undef curl_easy_getinfo

namespace mu {
namespace {

constexpr const char* kName = "libcurl.so.4";

// A copy of the library, opened and judged.
struct Copy {
  std::string_view whose;
  std::string path;     // where it was found
  std::string version;  // "7.88.1 OpenSSL/3.0.15"
  std::string fault;    // why it can't be used; empty if it can
  bool there = false;
  Libcurl curl{};
};

// ../lib/modelutils/libcurl.so.4 as seen from the folder of the running program; empty if nothing is there.
std::string own_path() {
  std::array<char, 4096> buffer{};
  const ssize_t size = ::readlink("/proc/self/exe", buffer.data(), buffer.size());
  if (size <= 0 || static_cast<size_t>(size) == buffer.size()) return {};
  std::string_view folder(buffer.data(), static_cast<size_t>(size));
  for (int up = 0; up < 2; ++up) folder = folder.substr(0, folder.rfind('/'));
  const std::string path = fmt::format("{}/lib/modelutils/{}", folder, kName);
  return ::access(path.c_str(), F_OK) == 0 ? path : std::string();
}

// Looks up every function that we call. Returns the name of the first that is missing.
const char* find_functions(void* library, Libcurl& curl) {
  const char* missing = nullptr;
  const auto find = [&]<typename Function>(Function& function, const char* name) {
    function = reinterpret_cast<Function>(::dlsym(library, name));
    if (function == nullptr && missing == nullptr) missing = name;
  };
  find(curl.version_info, "curl_version_info");
  find(curl.global_init, "curl_global_init");
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
  return missing;
}

bool has_protocol(const curl_version_info_data& info, std::string_view name) {
  for (const char* const* each = info.protocols; each != nullptr && *each != nullptr; ++each) {
    if (*each == name) return true;
  }
  return false;
}

// Options without which a request would silently differ from the one that was asked for, or take another way. A
// build may lack them (proxies can be left out) although all functions are there. The others that http.cc sets
// only make transfers quicker or are as old as libcurl.so.4. Returns the name of the first that is missing.
const char* missing_option(const Libcurl& curl, CURL* handle) {
  const auto lacks = [&](CURLoption option, auto value) {
    return curl.easy_setopt(handle, option, value) != CURLE_OK;
  };
  const char* const no_text = nullptr;
  if (lacks(CURLOPT_PATH_AS_IS, 1L)) return "CURLOPT_PATH_AS_IS";
  if (lacks(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L)) return "CURLOPT_SUPPRESS_CONNECT_HEADERS";
  if (lacks(CURLOPT_PROXY, no_text)) return "CURLOPT_PROXY";
  if (lacks(CURLOPT_CAINFO, no_text)) return "CURLOPT_CAINFO";
  return nullptr;
}

// Starts a copy that has all functions. Returns what it can't do.
std::string start(const Libcurl& curl) {
  for (const char* protocol : {"http", "https"}) {
    if (!has_protocol(*curl.version_info(CURLVERSION_NOW), protocol))
      return fmt::format("it can't speak {}", protocol);
  }
  CURL* const handle = curl.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl.easy_init() : nullptr;
  if (handle == nullptr) return "it can't be started";
  const char* const missing = missing_option(curl, handle);
  curl.easy_cleanup(handle);
  return missing == nullptr ? "" : fmt::format("it has no {}", missing);
}

// Our own copy was built without a place of certificates. Before 7.70 libcurl does not say; a system's knows its own.
bool knows_certificates(const curl_version_info_data& info) {
  const auto is_there = [](const char* path) { return path != nullptr && ::access(path, R_OK) == 0; };
  return info.age < CURLVERSION_SEVENTH || is_there(info.cainfo) || is_there(info.capath);
}

std::string version_of(const Libcurl& curl) {
  const curl_version_info_data* const info = curl.version_info(CURLVERSION_NOW);
  const std::string_view tls = info->ssl_version == nullptr ? "" : info->ssl_version;
  return escape_name(fmt::format("{}{}{}", info->version, tls.empty() ? "" : " ", tls));
}

// `name` is a path, or a name that the dynamic linker looks for. A copy that can't be used stays loaded:
// some of its dependencies may not survive being unloaded.
Copy open_copy(std::string_view whose, const std::string& name) {
  Copy copy{whose, name, "", "", false, {}};
  void* const library = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const std::string why = ::dlerror();
    copy.there = !(why.starts_with(name + ": ") && why.ends_with(std::strerror(ENOENT)));
    copy.fault = copy.there ? escape_name(why) : "not found";
    return copy;
  }
  copy.there = true;
  const link_map* map = nullptr;
  if (::dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map->l_name[0] != '\0') copy.path = map->l_name;
  const char* const missing = find_functions(library, copy.curl);
  if (copy.curl.version_info != nullptr) copy.version = version_of(copy.curl);
  if (missing == nullptr)
    copy.curl.knows_certificates = knows_certificates(*copy.curl.version_info(CURLVERSION_NOW));
  copy.fault = missing == nullptr ? start(copy.curl) : fmt::format("it has no {}", missing);
  return copy;
}

// The system's copy, and our own if the system's can't be used or `all` are wanted.
std::vector<Copy> open_copies(bool all) {
  std::vector<Copy> copies = {open_copy("the system's", kName)};
  const std::string own = own_path();
  if (!own.empty() && (all || !copies[0].fault.empty())) copies.push_back(open_copy("our own", own));
  return copies;
}

Libcurl load() {
  const std::vector<Copy> copies = open_copies(false);
  if (copies.back().fault.empty()) return copies.back().curl;
  if (copies.size() == 1 && !copies[0].there)
    throw Error(ErrorKind::kIo, "libcurl is not installed")
        .hint("install libcurl4 (or libcurl.so.4 by its name here)");
  std::string why;
  for (const Copy& copy : copies)
    why += fmt::format("{}{}: {}", why.empty() ? "" : "; ", escape_name(copy.path), copy.fault);
  throw Error(ErrorKind::kIo, "libcurl can't be used: " + why).hint("7.66 or newer is needed");
}

std::string describe(const Copy& copy, bool is_used) {
  std::string line =
      fmt::format("libcurl{}{}, {}", copy.version.empty() ? "" : " ", copy.version, copy.whose);
  if (!copy.there) return line + ": not found\n";
  line += fmt::format(", {}: ", escape_name(copy.path));
  if (is_used) return line + "used\n";
  return line + (copy.fault.empty() ? "not needed" : "not used, " + copy.fault) + "\n";
}

}  // namespace

const Libcurl& libcurl() {
  static const Libcurl loaded = load();
  return loaded;
}

std::string describe_libcurl() {
  std::string text;
  bool is_used = false;
  for (const Copy& copy : open_copies(true)) {
    text += describe(copy, !is_used && copy.fault.empty());
    is_used = is_used || copy.fault.empty();
  }
  return text;
}

}  // namespace mu
