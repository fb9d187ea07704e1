// SPDX-License-Identifier: Apache-2.0
// Headers of safetensors files.
#include "weights/safetensors.h"

#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view all = mu::fuzzing::as_view(data, size);
  mu::Findings findings;
  const std::optional<std::uint64_t> length = mu::safetensors_header_size(all, size, "input", findings);
  if (!length) return 0;
  const mu::SafetensorsHeader header =
      mu::parse_safetensors_header(all.substr(8, static_cast<std::size_t>(*length)), "input", findings);
  mu::check_safetensors_size(header, size, "input", findings);
  return 0;
}
