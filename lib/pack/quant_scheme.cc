// SPDX-License-Identifier: Apache-2.0
// The configs are those that llm-compressor (0.14.0.1 with compressed-tensors 0.20.1) writes, and of "fp8" those that
// transformers (5.23) reads; keys in order of the alphabet.
#include "pack/quant_scheme.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/json_write.h"
#include "base/text.h"

namespace mu {
namespace {

constexpr std::string_view kCompressed = "compressed-tensors";
constexpr std::array<SchemeFacts, 6> kSchemes = {{
    {"fp8-dynamic", kCompressed, "FP8_DYNAMIC", "activations are quantised to fp8 when served", 0},
    {"fp8-block", kCompressed, "FP8_BLOCK", "activations are quantised to fp8 when served", 0},
    {"mxfp4", kCompressed, "MXFP4", "activations are quantised to fp4 when served; mxfp4a16 leaves them", 32},
    {"mxfp4a16", kCompressed, "MXFP4A16", "activations stay as they are", 32},
    {"nvfp4", kCompressed, "NVFP4A16", "activations stay as they are", 16},
    {"fp8", "fp8", "", "activations are quantised to fp8 when served", 0},
}};

void write_float_args(JsonWriter& json, QuantScheme scheme, bool weights) {
  const bool fp4 = facts_of(scheme).group > 0, blocks = scheme == QuantScheme::kFp8Block;
  json.begin_object();
  if (weights && blocks) json.key("block_structure").numbers({128, 128});
  json.member("dynamic", !weights).key("group_size");
  if (fp4)
    json.value(facts_of(scheme).group);
  else if (blocks && !weights)
    json.value(128);
  else
    json.null();
  json.member("num_bits", fp4 ? 4 : 8);
  if (fp4) json.member("scale_dtype", scheme == QuantScheme::kNvfp4 ? "torch.float8_e4m3fn" : "torch.uint8");
  const std::string_view fp8 = weights ? blocks ? "block" : "channel" : blocks ? "group" : "token";
  json.member("strategy", !fp4 ? fp8 : scheme == QuantScheme::kNvfp4 ? "tensor_group" : "group");
  json.member("symmetric", true).member("type", "float").end_object();
}

std::string_view format_of(QuantScheme scheme) {
  if (facts_of(scheme).group == 0) return "float-quantized";
  return scheme == QuantScheme::kNvfp4 ? "nvfp4-pack-quantized" : "mxfp4-pack-quantized";
}

void write_list(JsonWriter& json, const std::vector<std::string>& list) {
  json.begin_array();
  for (const std::string& text : list) json.value(text);
  json.end_array();
}

void write_compressed(JsonWriter& json, QuantScheme scheme, const std::vector<std::string>& plain) {
  json.key("config_groups").begin_object().key(facts_of(scheme).preset).begin_object();
  json.member("format", format_of(scheme)).key("input_activations");
  if (scheme == QuantScheme::kMxfp4A16 || scheme == QuantScheme::kNvfp4)
    json.null();
  else
    write_float_args(json, scheme, false);
  json.key("output_activations").null().key("targets").begin_array().value("Linear").end_array();
  json.key("weights");
  write_float_args(json, scheme, true);
  json.end_object().end_object().member("format", format_of(scheme));
  json.key("global_compression_ratio").null().key("ignore");
  write_list(json, plain);
  json.key("kv_cache_scheme").null().key("moe_sparsity_config").null();
  json.member("quant_method", kCompressed).member("quantization_status", "compressed");
  json.key("transform_config").begin_object().end_object().member("version", "0.20.1");
}

}  // namespace

const SchemeFacts& facts_of(QuantScheme scheme) {
  return kSchemes[static_cast<std::size_t>(scheme)];
}

QuantScheme parse_quant_scheme(std::string_view text) {
  for (std::size_t i = 0; i < kSchemes.size(); ++i) {
    if (text == kSchemes[i].name) return static_cast<QuantScheme>(i);
  }
  const std::string lower = lower_ascii(text);
  for (std::size_t i = 0; i < kSchemes.size(); ++i) {
    if (!kSchemes[i].preset.empty() && lower == lower_ascii(kSchemes[i].preset))
      return static_cast<QuantScheme>(i);
  }
  // llm-compressor's schemes of these names scale activations by what a run over data has shown.
  if (lower == "nvfp4")
    throw refused(fmt::format("--quantize {} needs activations that were calibrated with data", text))
        .hint("nvfp4 (NVFP4A16) leaves activations as they are");
  if (lower == "fp8")
    throw refused(fmt::format("--quantize {} needs activations that were calibrated with data", text))
        .hint("fp8-dynamic scales them when served; fp8 in small letters is the dialect of DeepSeek");
  throw usage(fmt::format("--quantize takes fp8-dynamic, fp8-block, mxfp4, mxfp4a16, nvfp4 or fp8, not '{}'",
                          escape_name(text)));
}

std::string quantization_config(QuantScheme scheme, const std::vector<std::string>& plain) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  if (scheme == QuantScheme::kFp8) {
    json.member("activation_scheme", "dynamic").key("modules_to_not_convert");
    write_list(json, plain);
    json.member("quant_method", "fp8").key("weight_block_size").numbers({128, 128});
  } else {
    write_compressed(json, scheme, plain);
  }
  json.end_object();
  return text;
}

}  // namespace mu
