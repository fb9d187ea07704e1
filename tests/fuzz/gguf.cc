// SPDX-License-Identifier: Apache-2.0
// GGUF headers.
#include "weights/gguf.h"

#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mu::fuzzing::read_weights(data, size, mu::add_gguf);
  return 0;
}
