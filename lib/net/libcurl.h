// SPDX-License-Identifier: Apache-2.0
// The functions of libcurl that http.cc uses, looked up in the shared library on first use. Linking it would
// cost every start of every program two milliseconds.
//
// Two copies may be there: the system's, which the dynamic linker finds, and our own, which packages that can't
// name libcurl as a dependency carry in ../lib/modelutils beside the folder of the programs. The system's is
// used if it can do all that we ask of it: the system keeps it up to date, and it knows the system's certificates.
#pragma once

#include <curl/curl.h>

namespace mu {

struct Libcurl {
  decltype(&::curl_global_init) global_init;
  decltype(&::curl_easy_init) easy_init;
  decltype(&::curl_easy_setopt) easy_setopt;
  decltype(&::curl_easy_getinfo) easy_getinfo;
  decltype(&::curl_easy_reset) easy_reset;
  decltype(&::curl_easy_cleanup) easy_cleanup;
  decltype(&::curl_easy_strerror) easy_strerror;
  decltype(&::curl_multi_init) multi_init;
  decltype(&::curl_multi_add_handle) multi_add_handle;
  decltype(&::curl_multi_remove_handle) multi_remove_handle;
  decltype(&::curl_multi_perform) multi_perform;
  decltype(&::curl_multi_poll) multi_poll;
  decltype(&::curl_multi_info_read) multi_info_read;
  decltype(&::curl_multi_cleanup) multi_cleanup;
  decltype(&::curl_slist_append) slist_append;
  decltype(&::curl_slist_free_all) slist_free_all;
  decltype(&::curl_version_info) version_info;
  bool knows_certificates;  // it was built for a place of certificates that is there
};

// Throws kIo, saying what is wrong with each copy, if none can be used.
const Libcurl& libcurl();

}  // namespace mu
