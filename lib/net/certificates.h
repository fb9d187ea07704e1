// SPDX-License-Identifier: Apache-2.0
// Which certificates of authorities TLS trusts. The system's libcurl knows where its distribution keeps them,
// our own copy does not. What the environment names comes first with both.
#pragma once

#include <string>

namespace mu {

// A file of certificates in PEM, and a folder with one in each file, named by hashes as OpenSSL does. Both count.
struct CaBundle {
  std::string file, folder;
  bool is_all = false;  // nothing else is trusted; otherwise libcurl chooses what is empty
};

// The file or folder in the first of SSL_CERT_FILE, CURL_CA_BUNDLE and REQUESTS_CA_BUNDLE that is set, in place of the
// system's, and the folders in SSL_CERT_DIR, separated by ':', besides. Throws kIo, naming the variable, if what it names can't be read.
CaBundle named_certificates();
// The first of the places where distributions keep a file or folder of certificates. `root` stands before each of
// them. Both members are empty if there is none.
CaBundle system_certificates(const std::string& root = "");
// What an exchange trusts. A libcurl that does not know a place of its own is told the system's. Throws
// kIo if there are none.
CaBundle ca_bundle(bool libcurl_knows);

}  // namespace mu
