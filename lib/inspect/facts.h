// SPDX-License-Identifier: Apache-2.0
// What an input is, in a few facts: the default view prints them, JSON reports them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/input.h"

namespace mu {

struct DtypeTotal {
  Dtype dtype;
  std::string_view text;  // "bf16", or a foreign type's name; borrowed
  std::uint64_t tensors = 0, elements = 0, bytes = 0;
};

struct InputFacts {
  std::string
      kind;  // "model", "adapter", "checkpoint", "adapter checkpoint", "weights file", "sharded weights"
  std::string description;         // one line for a person
  std::vector<DtypeTotal> dtypes;  // largest first
  std::uint64_t tensors = 0, elements = 0, bytes = 0;
  std::vector<std::string> notes;
};

InputFacts gather_facts(const Input& input);

// The strongest level that no finding breaks, or nothing when the reference library would not load it.
std::optional<Level> level_reached(const Findings& findings);

}  // namespace mu
