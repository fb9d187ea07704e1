// SPDX-License-Identifier: Apache-2.0
#include "lora/leftover.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/text.h"

namespace mu {
namespace {

using Components = std::vector<std::string_view>;

// Last components of buffers: those that transformers 5.23 registers with persistent=False and older releases
// saved, and those that its _keys_to_ignore_on_load_unexpected name.
constexpr std::array<std::string_view, 7> kBuffers = {
    "inv_freq",    "original_inv_freq",      "masked_bias", "position_ids", "token_type_ids",
    "causal_mask", "relative_position_index"};
// Modules of layers that predict further tokens (Qwen3-Next, MiMo, Nemotron-H, Inkling …).
constexpr std::array<std::string_view, 4> kPrediction = {"mtp", "mtp_layers", "mtp_block", "mtp_predictor"};
constexpr std::array<std::string_view, 7> kHeads = {"lm_head", "embed_out",  "score", "classifier",
                                                    "cls",     "qa_outputs", "pooler"};

template <std::size_t N>
bool is_one_of(std::string_view word, const std::array<std::string_view, N>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// The causal mask of GPT-2, GPT-Neo and GPT-NeoX: "attn.bias" or "attention.bias" of [1, 1, positions, positions].
bool is_mask(const Components& parts, const std::vector<std::uint64_t>& shape) {
  return parts.size() > 1 && parts.back() == "bias" && shape.size() == 4 && shape[0] == 1 && shape[1] == 1;
}

std::optional<std::uint64_t> layers_of(const JsonValue& root) {
  for (const std::string_view key : {"num_hidden_layers", "n_layer", "num_layers"}) {
    if (const std::optional<std::uint64_t> count = root.find_u64(key)) return count;
  }
  const JsonValue* const text = root.find("text_config");
  return text == nullptr ? std::nullopt : layers_of(*text);
}

// "model.layers.61." of a language model with 61 layers (DeepSeek-V3, GLM-4.5).
bool is_behind_the_last(const Components& parts, const std::optional<ModelConfig>& config) {
  const auto layers = std::find(parts.begin(), parts.end(), "layers");
  if (!config || layers == parts.end() || layers + 1 == parts.end() || !is_digits(layers[1])) return false;
  const std::optional<std::uint64_t> count = layers_of(config->root);
  if (layers != parts.begin() && layers[-1] != "model" && layers[-1] != "language_model") return false;
  std::uint64_t number = 0;
  const std::string_view text = layers[1];
  const bool fits = std::from_chars(text.data(), text.data() + text.size(), number).ec == std::errc();
  return count && fits && number >= *count;
}

}  // namespace

std::optional<Leftover> leftover_of(std::string_view name, const std::vector<std::uint64_t>& shape,
                                    const std::optional<ModelConfig>& config) {
  const Components parts = split(name, '.');
  if (is_one_of(parts.back(), kBuffers) || is_mask(parts, shape)) return Leftover::kBuffer;
  const bool predicts = std::any_of(parts.begin(), parts.end(),
                                    [](std::string_view part) { return is_one_of(part, kPrediction); });
  if (predicts || is_behind_the_last(parts, config)) return Leftover::kPrediction;
  // At the top, or in the language model of a multimodal one.
  const std::size_t head = parts.front() == "language_model" ? 1 : 0;
  if (head + 1 < parts.size() && is_one_of(parts[head], kHeads)) return Leftover::kHead;
  return std::nullopt;
}

}  // namespace mu
