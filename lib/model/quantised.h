// SPDX-License-Identifier: Apache-2.0
// What quantised weights look like: which tensors are stored in few bits, which scales, zero points and tables
// give them their values, and what a config says about it. Names are judged by what stands beside them, as
// every library spells them in its own way.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "tensor/tensor.h"

namespace mu {

enum class QuantRole : std::uint8_t {
  kPlain,   // its values stand for themselves
  kWeight,  // few bits an element, which mean nothing without a companion
  kScale,   // scale, zero point, table of values, permutation, packed shape …: a companion
  kMarker,  // says only how its neighbours are stored
};

// How the tensors are spelled; which library wrote them is for the config to say.
enum class QuantFamily : std::uint8_t {
  kNone,
  kScaled,        // X.weight and X.weight_scale …: fp8, compressed-tensors, ModelOpt, MLX and others
  kPacked,        // X.weight_packed: compressed-tensors
  kGptq,          // X.qweight, X.qzeros, X.scales: GPTQ and AWQ
  kBitsandbytes,  // X.weight.absmax, X.SCB
  kTorchao,       // X._weight_qdata
  kBlocks,        // X_blocks, X_scales: gpt-oss
  kComfy,         // scaled_fp8, X.scale_weight
};

struct QuantPart {
  QuantRole role = QuantRole::kPlain;
  QuantFamily family = QuantFamily::kNone;
  std::string
      module{};  // what it belongs to ("model.layers.0.mlp.up_proj"); empty: plain, or a marker of all
  bool has_partner = false;  // a weight has a scale beside it, a scale its weight
};

// What each tensor is to quantised weights, in the order of `tensors`. A tensor of a usual type is plain unless
// its name, or its name and a neighbour of few bits, say otherwise; so is an fp8 tensor without a scale.
std::vector<QuantPart> quant_parts(const std::vector<Tensor>& tensors);

// The files in which AutoGPTQ and AutoAWQ said how weights are stored when config.json did not yet.
inline constexpr std::array<std::string_view, 2> kOlderQuantFiles = {"quantize_config.json",
                                                                     "quant_config.json"};

// That a config calls its weights quantised.
struct QuantSettings {
  std::string file;    // "config.json"
  std::string place;   // "quantization_config", "text_config.quantization_config"
  std::string method;  // quant_method, or what stands for it; empty: not given
  // Whether this method stores scales or tables beside every weight, as far as this is known.
  bool stores_scales = false;
  JsonValue json{};    // the whole object
  std::string text{};  // of the file, where it is one of kOlderQuantFiles
};

// What config.json says: a quantization_config (compression_config and MLX's quantization, too), at the top or
// in a sub-config.
std::optional<QuantSettings> quant_settings(const JsonValue& config);
// What ModelOpt's hf_quant_config.json says.
std::optional<QuantSettings> modelopt_settings(const JsonValue& document);

// What one of kOlderQuantFiles says. Throws kMalformed for text that is not JSON.
std::optional<QuantSettings> older_quant_settings(std::string_view file, const std::string& text);

// Whether a file of a model folder says how weights were quantised, and means nothing beside plain ones.
bool is_quantisation_file(std::string_view name);

}  // namespace mu
