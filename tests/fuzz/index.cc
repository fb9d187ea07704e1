// SPDX-License-Identifier: Apache-2.0
// Indexes of sharded models, and the JSON reader under all documents.
#include "weights/index.h"

#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    mu::Findings findings;
    mu::parse_shard_index(mu::fuzzing::as_view(data, size), "input", findings);
  } catch (const mu::Error&) {
  }
  return 0;
}
