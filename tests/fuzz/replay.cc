// SPDX-License-Identifier: Apache-2.0
// replay PATH...: feeds every file below the paths to the fuzz target it is linked with. An input that
// crashes or hangs the target fails the test; no input at all does too.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "fuzz_file.h"

int main(int argc, char** argv) {
  int inputs = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i])) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path(), std::ios::binary);
      const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
      LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
      ++inputs;
    }
  }
  std::printf("%d inputs\n", inputs);
  return inputs > 0 ? 0 : 1;
}
