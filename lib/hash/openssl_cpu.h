// SPDX-License-Identifier: Apache-2.0
// On x86-64 libcrypto looks for the processor's instructions in its .init section, which the start files of the portable
// build don't run; without that SHA-256 takes three times as long. A second look costs nothing.
#pragma once

extern "C" void OPENSSL_cpuid_setup();  // of libcrypto, in none of its headers

namespace mu {

inline void find_hash_instructions() {
  static const bool found = (OPENSSL_cpuid_setup(), true);
  static_cast<void>(found);
}

}  // namespace mu
