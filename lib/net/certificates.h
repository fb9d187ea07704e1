// SPDX-License-Identifier: Apache-2.0
// Which certificates of authorities TLS trusts. The system's libcurl knows where its distribution keeps them,
// our own copy does not. With both, what the environment names comes first.
#pragma once

#include <string>

namespace mu {

// A file of certificates in PEM, and a folder with one in each file, named by hashes as OpenSSL does. Both count.
struct CaBundle {
  std::string file, folder;
  bool is_all = false;  // nothing else is trusted; otherwise libcurl chooses what is empty
};

// The first of SSL_CERT_FILE, CURL_CA_BUNDLE and REQUESTS_CA_BUNDLE that is set names a file or folder that replaces the
// system's certificates. SSL_CERT_DIR adds folders, separated by ':'. Throws kIo, naming the variable, if what it names
// can't be read.
CaBundle named_certificates();
// The first of the places where distributions keep a file or folder of certificates. `root` stands before each of
// them. Both members are empty if there is none.
CaBundle system_certificates(const std::string& root = "");
// What an exchange trusts: what the environment names, and the system's certificates if libcurl does not know where
// they are. Throws kIo if there are none.
CaBundle ca_bundle(bool libcurl_knows);

}  // namespace mu
