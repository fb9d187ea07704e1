// SPDX-License-Identifier: Apache-2.0
// The JSON of a safetensors header as entries: the first half of reading one (safetensors.h), private to this
// folder.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/finding.h"
#include "tensor/dtype.h"
#include "weights/metadata.h"

namespace mu {

// A tensor as the header declares it.
struct HeaderEntry {
  std::string name;
  Dtype dtype = Dtype::kBool;
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0, end = 0;  // in the buffer
  std::size_t at = 0;                // byte of its name in the file
};

struct HeaderEntries {
  std::vector<HeaderEntry> tensors;  // in the order of the header, equal names included
  std::optional<Metadata> metadata;
};

// Reads what comes before a fault; faults (level kLoads) and oddities of the text go to `findings`.
HeaderEntries parse_header_entries(std::string_view json, std::string_view file, Findings& findings);

}  // namespace mu
