// SPDX-License-Identifier: Apache-2.0
// A libcurl that lacks one thing, which MU_STUB_LACKS names: curl_multi_poll, as that of RHEL 8; an option, as a
// build without proxies; or https. It transfers nothing: a program that uses it fails.
#include <curl/curl.h>

#include <string_view>

#undef curl_easy_setopt
#undef curl_easy_getinfo

namespace {

constexpr std::string_view kLacks = MU_STUB_LACKS;
char handle;
const char* const kWithHttps[] = {"http", "https", nullptr};
const char* const kWithout[] = {"http", nullptr};

}  // namespace

extern "C" {

CURLcode curl_global_init(long) {
  return CURLE_OK;
}
CURL* curl_easy_init() {
  return &handle;
}
CURLcode curl_easy_setopt(CURL*, CURLoption option, ...) {
  return kLacks == "option" && option == CURLOPT_PROXY ? CURLE_UNKNOWN_OPTION : CURLE_OK;
}
CURLcode curl_easy_getinfo(CURL*, CURLINFO, ...) {
  return CURLE_FAILED_INIT;
}
void curl_easy_reset(CURL*) {}
void curl_easy_cleanup(CURL*) {}
const char* curl_easy_strerror(CURLcode) {
  return "a stub";
}
CURLM* curl_multi_init() {
  return nullptr;
}
CURLMcode curl_multi_add_handle(CURLM*, CURL*) {
  return CURLM_INTERNAL_ERROR;
}
CURLMcode curl_multi_remove_handle(CURLM*, CURL*) {
  return CURLM_INTERNAL_ERROR;
}
CURLMcode curl_multi_perform(CURLM*, int*) {
  return CURLM_INTERNAL_ERROR;
}
CURLMsg* curl_multi_info_read(CURLM*, int*) {
  return nullptr;
}
CURLMcode curl_multi_cleanup(CURLM*) {
  return CURLM_OK;
}
curl_slist* curl_slist_append(curl_slist*, const char*) {
  return nullptr;
}
void curl_slist_free_all(curl_slist*) {}
#ifndef MU_STUB_WITHOUT_POLL
CURLMcode curl_multi_poll(CURLM*, curl_waitfd*, unsigned, int, int*) {
  return CURLM_INTERNAL_ERROR;
}
#endif

curl_version_info_data* curl_version_info(CURLversion) {
  static curl_version_info_data info{};
  info.version = "7.61.1";
  info.ssl_version = "OpenSSL/1.1.1k";
  info.protocols = kLacks == "https" ? kWithout : kWithHttps;
  return &info;
}
}
