// SPDX-License-Identifier: Apache-2.0
#include "hash/sha256.h"

#include <doctest/doctest.h>

#include "base/bytes.h"

using namespace mu;

#if defined(__x86_64__)
extern "C" unsigned OPENSSL_ia32cap_P[4];

TEST_CASE("sha256: libcrypto knows the processor, whatever start files the program has") {
  const Sha256 sha;
  CHECK(OPENSSL_ia32cap_P[0] != 0);
}
#endif

TEST_CASE("sha256: vectors of FIPS 180-4, in one update or many") {
  const auto hex = [](std::string_view text, std::size_t step) {
    Sha256 hash;
    for (std::size_t i = 0; i < text.size(); i += step) hash.update(as_bytes(text.substr(i, step)));
    return to_hex(hash.finish());
  };
  CHECK(hex("", 1) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  for (const std::size_t step : {1U, 2U, 7U, 100U}) {
    CHECK(hex("abc", step) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", step) ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  }
}
