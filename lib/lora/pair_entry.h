// SPDX-License-Identifier: Apache-2.0
// What was found for one tensor of a plan, as text, for another process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/json.h"
#include "base/json_write.h"
#include "lora/found.h"

namespace mu {

// What factors and kept tensors lie in.
struct FoundFile {
  std::uint64_t size = 0;  // bytes
  std::function<void(std::uint64_t at, std::span<std::byte> out)> read;
};

// An object; `offset` is where its bytes are for the reader.
void write_found(JsonWriter& json, std::size_t index, const FoundTensor& one, std::uint64_t offset);

// Puts it in its place in `found`, and returns that. Throws kMalformed if it does not fit the plan or the file.
std::size_t read_found(const JsonValue& item, const PairPlan& plan, const FoundFile& file,
                       std::vector<FoundTensor>& found);

}  // namespace mu
