// SPDX-License-Identifier: Apache-2.0
#include "net/certificates.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>

#include "net/environment.h"
#include "net/variables.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

void make_folders(const std::string& path) {
  for (std::size_t end = path.find('/', 1); end != std::string::npos; end = path.find('/', end + 1))
    ::mkdir(path.substr(0, end).c_str(), 0777);
}

void put_at(const std::string& path) {
  make_folders(path);
  put(path, "certificates");
}

}  // namespace

TEST_CASE("certificates: the first variable that is set counts, folders are added") {
  const TempFolder home;
  const std::string one = home / "one.pem", two = home / "two.pem", folder = home / "folder";
  put(one, "1");
  put(two, "2");
  put_at(folder + "/5ed36f99.0");
  struct Row {
    std::map<std::string, const char*> set;
    std::string file, folder;
  };
  const std::string missing = home / "none", several = missing + ":" + folder, both = folder + ":" + folder;
  for (const Row& row : {
           Row{{}, "", ""},
           {{{"SSL_CERT_FILE", one.c_str()}, {"CURL_CA_BUNDLE", two.c_str()}}, one, ""},
           {{{"CURL_CA_BUNDLE", two.c_str()}, {"REQUESTS_CA_BUNDLE", one.c_str()}}, two, ""},
           {{{"REQUESTS_CA_BUNDLE", one.c_str()}}, one, ""},
           {{{"SSL_CERT_FILE", ""}, {"REQUESTS_CA_BUNDLE", folder.c_str()}}, "", folder},
           {{{"SSL_CERT_FILE", one.c_str()}, {"SSL_CERT_DIR", folder.c_str()}}, one, folder},
           {{{"SSL_CERT_DIR", several.c_str()}}, "", several},
           {{{"SSL_CERT_FILE", folder.c_str()}, {"SSL_CERT_DIR", folder.c_str()}}, "", both},
       }) {
    const Variables variables(row.set);
    const CaBundle bundle = named_certificates();
    CHECK(bundle.file == row.file);
    CHECK(bundle.folder == row.folder);
    // SSL_CERT_DIR alone adds to the system's.
    CHECK(bundle.is_all == std::any_of(row.set.begin(), row.set.end(), [](const auto& variable) {
            return variable.first != "SSL_CERT_DIR" && *variable.second != '\0';
          }));
  }
}

TEST_CASE("certificates: a variable that names nothing is an error that says which") {
  for (const char* name : {"SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"}) {
    const Variables variables(name, "/no/such/place");
    try {
      named_certificates();
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kIo);
      CHECK(std::string(error.what()).starts_with(std::string(name) + " names /no/such/place"));
    }
  }
}

TEST_CASE("certificates: those of each distribution are found") {
  for (const char* place : {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                            "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/ca-bundle.pem",
                            "/var/lib/ca-certificates/ca-bundle.pem", "/etc/ssl/cert.pem",
                            "/etc/ca-certificates/extracted/tls-ca-bundle.pem"}) {
    const TempFolder root;
    put_at(root.path() + place);
    CHECK(system_certificates(root.path()).file == root.path() + place);
    CHECK(system_certificates(root.path()).folder.empty());
  }
}

TEST_CASE("certificates: a folder counts if OpenSSL finds something in it") {
  const TempFolder root;
  CHECK(system_certificates(root.path()).folder.empty());
  const std::string folder = root.path() + "/etc/ssl/certs/";
  put_at(folder + "README");
  put(folder + "ca.pem", "");
  put(folder + "5ed36f99.", "");
  put(folder + "5ed36f9x.0", "");
  CHECK(system_certificates(root.path()).folder.empty());
  put(folder + "5ed36f99.0", "");
  CHECK(system_certificates(root.path()).folder == root.path() + "/etc/ssl/certs");
  CHECK(system_certificates(root.path()).file.empty());
}

TEST_CASE("certificates: a libcurl is told where the system's are, if it knows no place of its own") {
  const TempFolder home;
  const std::string file = home / "one.pem";
  put(file, "1");
  {
    const Variables variables({});
    CHECK(ca_bundle(true).file.empty());
    CHECK(ca_bundle(true).folder.empty());
  }
  {
    const Variables variables({});
    const CaBundle system = system_certificates();
    if (system.file.empty() && system.folder.empty()) {
      CHECK(error_of([] { ca_bundle(false); }) == ErrorKind::kIo);
    } else {
      CHECK(ca_bundle(false).file == system.file);
      CHECK(ca_bundle(false).folder == system.folder);
    }
  }
  {
    const Variables variables("SSL_CERT_DIR", home.path().c_str());
    CHECK(ca_bundle(false).file == system_certificates().file);
    CHECK(ca_bundle(false).folder == home.path());
  }
  for (const bool libcurl_knows : {true, false}) {
    {
      const Variables variables("SSL_CERT_FILE", file.c_str());
      CHECK(ca_bundle(libcurl_knows).file == file);
      CHECK(ca_bundle(libcurl_knows).folder.empty());
    }
    const Variables variables("REQUESTS_CA_BUNDLE", home.path().c_str());
    CHECK(ca_bundle(libcurl_knows).file.empty());
    CHECK(ca_bundle(libcurl_knows).folder == home.path());
  }
}

TEST_CASE("certificates: plain http needs them only where a proxy speaks TLS") {
  const auto needs = [](const char* url, const char* name, const char* proxy) {
    const Variables variables(name, proxy);
    return needs_certificates(url);
  };
  CHECK(needs("https://hub.example/x", "http_proxy", nullptr));
  CHECK_FALSE(needs("http://hub.example/x", "http_proxy", "http://proxy:3128"));
  CHECK(needs("http://hub.example/x", "http_proxy", "https://proxy:3128"));
  CHECK(needs("http://hub.example/x", "ALL_PROXY", "HTTPS://proxy:3128"));
}
