// SPDX-License-Identifier: Apache-2.0
// A few facts about what an input is. The default view prints them, JSON reports them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/input.h"
#include "model/quant_summary.h"

namespace mu {

struct DtypeTotal {
  Dtype dtype;
  std::string_view text;  // "bf16", or the name of a foreign type; borrowed
  std::uint64_t tensors = 0, elements = 0, bytes = 0;
};

struct InputFacts {
  std::string
      kind;  // "model", "adapter", "checkpoint", "adapter checkpoint", "weights file", "sharded weights"
  std::string description;         // one line for the user
  std::vector<DtypeTotal> dtypes;  // largest first
  std::uint64_t tensors = 0, elements = 0, bytes = 0;
  std::uint64_t stored_bytes = 0;         // the same, with the pieces that the file of a rank has
  std::optional<QuantSummary> quantised;  // nothing: all tensors are plain
  std::vector<std::string> notes;
};

InputFacts gather_facts(const Input& input);

// "compressed-tensors nvfp4-pack-quantized, 4.50 bits a weight (14 of 16 matrices)".
std::string quantisation_text(const QuantSummary& summary);

// The strongest level that no finding breaks; nullopt if the reference library would not load the input.
std::optional<Level> level_reached(const Findings& findings);

}  // namespace mu
