// SPDX-License-Identifier: Apache-2.0
// MLX computes x A B with A [in, r] and B [r, out], where PEFT has A [r, in] and B [out, r]; its scale multiplies
// B A directly, so that lora_alpha is scale times r. A turned matrix is a view with strides on the same bytes.
#include "model/adapter_forms.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "model/families.h"
#include "model/lora_config.h"
#include "weights/layout.h"

namespace mu {
namespace {

// The embeddings of MLX's models, which take the factors of embeddings.
constexpr std::array<std::string_view, 5> kEmbeddings = {"embed_tokens", "wte", "embed_in", "tok_embeddings",
                                                         "word_embeddings"};

// What names begin with in diffusers' files: parts of pipelines that no language model has.
constexpr std::array<std::string_view, 6> kPipelineParts = {"unet.",
                                                            "text_encoder.",
                                                            "text_encoder_2.",
                                                            "text_encoder_3.",
                                                            "transformer.transformer_blocks.",
                                                            "transformer.single_transformer_blocks."};

void turn(Tensor& tensor) {
  auto layout = std::make_shared<Layout>();
  const std::uint64_t rows = tensor.shape[0], columns = tensor.shape[1];
  layout->shape = {columns, rows};
  layout->boxes.push_back({tensor.source, tensor.offset, {0, 0}, {columns, rows}, {1, columns}});
  tensor.shape = layout->shape;
  tensor.layout = std::move(layout);
}

// The name that PEFT has for the leaf of an MLX module; empty for an unknown one.
std::string leaf_of(std::string_view leaf, bool is_embedding) {
  if (leaf == "lora_a") return is_embedding ? "lora_embedding_A" : "lora_A.weight";
  if (leaf == "lora_b") return is_embedding ? "lora_embedding_B" : "lora_B.weight";
  return leaf == "m" ? "lora_magnitude_vector" : "";
}

// Returns the module that the tensor belongs to.
std::string adopt(Tensor& tensor) {
  const std::size_t dot = tensor.name.rfind('.');
  const std::string module = tensor.name.substr(0, dot == std::string::npos ? 0 : dot);
  const std::string_view last = std::string_view(module).substr(module.rfind('.') + 1);
  const bool is_embedding = std::find(kEmbeddings.begin(), kEmbeddings.end(), last) != kEmbeddings.end();
  const std::string leaf = leaf_of(std::string_view(tensor.name).substr(dot + 1), is_embedding);
  if (dot == std::string::npos || leaf.empty())
    throw malformed(fmt::format("'{}' is not a factor of MLX's LoRA", escape_name(tensor.name)));
  if (!is_plain_float(tensor.dtype))
    throw malformed(fmt::format("'{}' is {}: quantised factors are not supported", escape_name(tensor.name),
                                type_text(tensor)));
  const bool is_matrix = leaf != "lora_magnitude_vector";
  if (is_matrix && (tensor.shape.size() != 2 || tensor.layout))
    throw malformed(
        fmt::format("'{}' is not a matrix: LoRA of stacked experts in MLX's form is not supported",
                    escape_name(tensor.name)));
  if (is_matrix) turn(tensor);
  tensor.name = fmt::format("base_model.model.{}.{}", module, leaf);
  return module;
}

}  // namespace

bool is_mlx_config(std::string_view text) {
  const JsonDocument document = parse_json(text);
  return document.root.find("peft_type") == nullptr && (document.root.find("fine_tune_type") != nullptr ||
                                                        document.root.find("lora_parameters") != nullptr);
}

std::string adopt_mlx_adapter(std::string_view text, Weights& weights) {
  const JsonDocument document = parse_json(text);
  const std::string* const type = document.root.find_string("fine_tune_type");
  if (type != nullptr && *type != "lora" && *type != "dora")
    throw malformed(fmt::format("fine_tune_type is {}: these are layers trained whole, not an adapter",
                                escape_name(*type)));
  const JsonValue* const parameters = document.root.find("lora_parameters");
  const JsonValue none;
  const JsonValue& settings = parameters == nullptr ? none : *parameters;
  const JsonValue* const scale = settings.find("scale");
  const double factor = scale == nullptr ? NAN : scale->as_double().value_or(NAN);
  const std::uint64_t rank = settings.find_u64("rank").value_or(0);
  if (!std::isfinite(factor) || rank == 0)
    throw malformed("lora_parameters lacks rank or scale, by which MLX multiplies the factors");
  if (settings.find("alpha") != nullptr)
    throw malformed("lora_parameters has alpha beside scale, which versions of MLX read differently")
        .hint("remove alpha, and set scale to what multiplies B A");
  LoraConfig config;
  config.rank = rank;
  config.alpha = factor * static_cast<double>(rank);
  config.use_dora = type != nullptr && *type == "dora";
  if (const std::string* const base = document.root.find_string("model")) config.base_model = *base;
  std::set<std::string> modules;
  for (Tensor& tensor : weights.tensors) modules.insert(adopt(tensor));
  config.target_modules.assign(modules.begin(), modules.end());
  return lora_config_text(config);
}

void refuse_pipeline_adapter(const Weights& weights) {
  const auto any = [&](auto matches) {
    return std::any_of(weights.tensors.begin(), weights.tensors.end(),
                       [&](const Tensor& tensor) { return matches(std::string_view(tensor.name)); });
  };
  const bool kohya = any([](std::string_view name) {
    return name.ends_with(".lora_down.weight") || name.ends_with(".lora_up.weight");
  });
  const bool diffusers = any([](std::string_view name) {
    return name.find(".lora") != std::string_view::npos &&
           std::any_of(kPipelineParts.begin(), kPipelineParts.end(),
                       [&](std::string_view part) { return name.starts_with(part); });
  });
  if (!kohya && !diffusers) return;
  throw malformed(fmt::format("is a LoRA for a diffusion pipeline, in the form of {}",
                              kohya ? "kohya's scripts" : "diffusers"))
      .in_file(escape_name(weights.files.front().name))
      .hint("diffusers loads it with load_lora_weights; adapters of PEFT and MLX are read here");
}

}  // namespace mu
