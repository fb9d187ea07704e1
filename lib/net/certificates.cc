// SPDX-License-Identifier: Apache-2.0
// The places are those of Go's crypto/x509 (root_linux.go), and that of Arch, the most common first. All are in PEM
// and hold only authorities for TLS servers.
#include "net/certificates.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "net/environment.h"
#include "os/folder.h"

namespace mu {
namespace {

constexpr const char* kFiles[] = {
    "/etc/ssl/certs/ca-certificates.crt",                 // Debian, Ubuntu, Alpine, Arch, Gentoo
    "/etc/pki/tls/certs/ca-bundle.crt",                   // RHEL, Fedora, Amazon Linux
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  // the same, where the link above is gone
    "/etc/ssl/ca-bundle.pem",                             // SUSE
    "/var/lib/ca-certificates/ca-bundle.pem",             // the same, what the link leads to
    "/etc/ssl/cert.pem",                                  // Alpine
    "/etc/ca-certificates/extracted/tls-ca-bundle.pem",   // Arch
};
constexpr const char* kFolder = "/etc/ssl/certs";

// "5ed36f99.0": what OpenSSL looks for in a folder.
bool is_hash_name(std::string_view name) {
  const auto is_hex = [](unsigned char c) { return std::isxdigit(c) != 0; };
  return name.size() > 9 && name[8] == '.' && std::all_of(name.begin(), name.begin() + 8, is_hex) &&
         std::all_of(name.begin() + 9, name.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

bool has_certificates(const std::string& folder) {
  if (!is_folder(folder)) return false;
  const std::vector<FolderEntry> entries = list_folder(folder);
  return std::any_of(entries.begin(), entries.end(),
                     [](const FolderEntry& entry) { return is_hash_name(entry.name); });
}

Error not_readable(const char* variable, std::string_view path, int why) {
  return Error(ErrorKind::kIo, fmt::format("{} names {}, which can't be read: {}", variable,
                                           escape_name(path), std::strerror(why)))
      .hint(fmt::format("correct {} or unset it", variable));
}

}  // namespace

CaBundle named_certificates() {
  CaBundle bundle;
  for (const char* name : {"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"}) {
    const std::string path = environment(name);
    if (path.empty()) continue;
    if (::access(path.c_str(), R_OK) != 0) throw not_readable(name, path, errno);
    (is_folder(path) ? bundle.folder : bundle.file) = path;
    bundle.is_all = true;
    break;
  }
  const std::string folders = environment("SSL_CERT_DIR");
  if (folders.empty()) return bundle;
  const std::vector<std::string_view> each = split(folders, ':');
  if (std::none_of(each.begin(), each.end(),
                   [](std::string_view path) { return is_folder(std::string(path)); }))
    throw not_readable("SSL_CERT_DIR", folders, ENOENT);
  bundle.folder += (bundle.folder.empty() ? "" : ":") + folders;
  return bundle;
}

CaBundle system_certificates(const std::string& root) {
  for (const char* place : kFiles) {
    if (const std::string path = root + place; ::access(path.c_str(), R_OK) == 0) return {path, ""};
  }
  const std::string folder = root + kFolder;
  return {"", has_certificates(folder) ? folder : ""};
}

CaBundle ca_bundle(bool libcurl_knows) {
  CaBundle bundle = named_certificates();
  if (libcurl_knows || bundle.is_all) return bundle;
  // A folder is searched besides the system's certificates, as OpenSSL does it.
  const CaBundle system = system_certificates();
  bundle.file = system.file;
  if (bundle.folder.empty()) bundle.folder = system.folder;
  if (bundle.file.empty() && bundle.folder.empty())
    throw Error(ErrorKind::kIo,
                "this machine has no certificates of authorities, so no server can be trusted")
        .hint("install ca-certificates, or name a file of certificates with SSL_CERT_FILE");
  return bundle;
}

}  // namespace mu
