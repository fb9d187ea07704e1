// SPDX-License-Identifier: Apache-2.0
// On x86-64 libcrypto finds out in its .init section which instructions the processor has. The start files of the
// portable build don't run that section, and without it SHA-256 takes three times as long. A second look costs nothing.
#pragma once

extern "C" void OPENSSL_cpuid_setup();  // of libcrypto, in none of its headers

namespace mu {

inline void find_hash_instructions() {
  static const bool found = (OPENSSL_cpuid_setup(), true);
  static_cast<void>(found);
}

}  // namespace mu
