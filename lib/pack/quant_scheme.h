// SPDX-License-Identifier: Apache-2.0
// The schemes of --quantize: what they are called, what they do, and the quantization_config that tells loaders.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

enum class QuantScheme : std::uint8_t { kFp8Dynamic, kFp8Block, kMxfp4, kMxfp4A16, kNvfp4, kFp8 };

struct SchemeFacts {
  std::string_view name;         // as --quantize takes it
  std::string_view method;       // quant_method
  std::string_view preset;       // llm-compressor's name; empty: not one of its schemes
  std::string_view activations;  // what servers do with them, a clause
  std::uint64_t group;           // neighbours in a row that share a scale and must be whole; 0: any row does
};
const SchemeFacts& facts_of(QuantScheme scheme);

// A name of ours, or of llm-compressor in any case. Throws kUsage for others, kRefused for schemes that need to be
// calibrated with data.
QuantScheme parse_quant_scheme(std::string_view text);

// The value of quantization_config. `plain` are the modules that have a matrix and stay as they are.
std::string quantization_config(QuantScheme scheme, const std::vector<std::string>& plain);

}  // namespace mu
