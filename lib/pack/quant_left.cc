// SPDX-License-Identifier: Apache-2.0
#include "pack/quant_left.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/text.h"
#include "model/families.h"

namespace mu {
namespace {

template <std::size_t N>
bool is_one_of(std::string_view part, const std::array<std::string_view, N>& parts) {
  return std::find(parts.begin(), parts.end(), part) != parts.end();
}

constexpr std::array<std::string_view, 7> kHeads = {"lm_head",    "score",     "classifier",         "v_head",
                                                    "qa_outputs", "embed_out", "classification_head"};
constexpr std::array<std::string_view, 4> kEmbeddings = {"wte", "wpe", "tok_embeddings", "embeddings"};
// T5's, which are called so only as modules, not as what holds others.
constexpr std::array<std::string_view, 2> kEmbeddingModules = {"shared", "relative_attention_bias"};
// The containers in which a "gate" chooses experts.
constexpr std::array<std::string_view, 5> kExpertContainers = {"mlp", "block_sparse_moe", "feed_forward",
                                                               "ffn", "moe"};
constexpr std::array<std::string_view, 10> kTowers = {
    "visual",        "vision_tower", "vision_model",          "vision_encoder", "audio_tower",
    "audio_encoder", "audio_model",  "multi_modal_projector", "mm_projector",   "vision_backbone"};

bool is_embedding(std::string_view part) {
  return is_one_of(part, kEmbeddings) || part.starts_with("embed_") || part.ends_with("_embed") ||
         part.ends_with("_embedding") || part.ends_with("_embeddings");
}

bool is_router(const std::vector<std::string_view>& parts, std::size_t i) {
  if (parts[i] == "router" || parts[i] == "shared_expert_gate") return true;
  return parts[i] == "gate" && i > 0 && is_one_of(parts[i - 1], kExpertContainers);
}

}  // namespace

std::string_view left_plain_as(std::string_view module, std::string_view model_type) {
  if (module.ends_with("norm")) return "norm";
  const std::vector<std::string_view> parts = split(module, '.');
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (is_one_of(parts[i], kHeads)) return "head";
    if (is_one_of(parts[i], kTowers)) return "vision or audio";
    if (is_embedding(parts[i])) return "embedding";
    if (is_router(parts, i)) return "router";
    if (parts[i] == "conv1d") return "convolution";
  }
  if (is_one_of(parts.back(), kEmbeddingModules)) return "embedding";
  if (is_conv1d_family(model_type) && is_conv1d_layer(parts.back())) return "stored transposed";
  return "";
}

}  // namespace mu
