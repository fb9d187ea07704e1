// SPDX-License-Identifier: Apache-2.0
// Zip archives: the directory, and every member read to its end.
#include "weights/archive/zip.h"

#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const mu::InputFile file = mu::fuzzing::as_file(data, size);
  try {
    mu::Findings findings;
    const mu::ZipArchive zip(file, 0, file.size(), findings);
    for (const mu::ZipEntry& entry : zip.entries()) {
      try {
        static_cast<void>(zip.read(entry, 1U << 20));
      } catch (const mu::Error&) {
      }
    }
  } catch (const mu::Error&) {
  }
  return 0;
}
