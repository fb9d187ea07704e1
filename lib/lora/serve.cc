// SPDX-License-Identifier: Apache-2.0
// The way of all forms: what the server does not know is refused; the factors find their places in the base; they get
// the names and shapes that the server looks for; and the config says which ranks and scales they have. Where nothing
// has to change, tensors stay as they are, and so do the bytes of the config.
#include "lora/serve.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/error.h"
#include "base/in_file.h"
#include "base/text.h"
#include "lora/serve_config.h"
#include "lora/serve_uniform.h"
#include "lora/served_base.h"
#include "lora/served_experts.h"
#include "lora/served_names.h"
#include "lora/served_pairs.h"
#include "model/families.h"
#include "model/module_path.h"
#include "tensor/format.h"

namespace mu {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kWeight = ".weight";

// Classes for which vLLM takes PEFT's pair for all experts (is_3d_moe_weight).
constexpr std::array<std::string_view, 6> kVllmTakesStacks = {"GptOssForCausalLM",
                                                              "InternS1ProForConditionalGeneration",
                                                              "Qwen3OmniMoeForConditionalGeneration",
                                                              "Qwen3OmniMoeThinkerForConditionalGeneration",
                                                              "Qwen3VLMoeForConditionalGeneration",
                                                              "Qwen3_5MoeForConditionalGeneration"};

// What vLLM takes for --max-lora-rank.
constexpr std::array<std::uint64_t, 9> kVllmRanks = {1, 8, 16, 32, 64, 128, 256, 320, 512};
constexpr std::uint64_t kVllmDefaultRank = 16;

std::string without_weight(const std::string& name) {
  return name.ends_with(kWeight) ? name.substr(0, name.size() - kWeight.size()) : name;
}

class Plan {
 public:
  Plan(Server server, const AdapterContent& content, const LoraConfig& config, const Weights& weights,
       const Input& base)
      : server_(server),
        content_(content),
        config_(config),
        base_input_(base),
        base_(base),
        weights_(weights) {}

  ServedAdapter run() {
    result_.form.server = server_;
    if (server_ != Server::kPeft) refuse_features();
    found_ = find_in_base(content_, config_, base_input_);
    PairsInBase pairs = find_pairs(content_, config_, found_, base_);
    if (server_ == Server::kPeft) drop_zeros(pairs);
    note_skipped();
    add_layers(pairs.layers);
    for (const auto& [name, container] : pairs.containers) add_experts(name, container);
    if (server_ == Server::kSglang) make_uniform(pairs_, config_, base_, result_.form);
    for (const ServedPair& pair : pairs_) add_tensors(pair);
    add_others();
    for (const ServedPair& pair : pairs_) result_.ranks.push_back(pair.factors.rank);
    for (const std::uint64_t rank : result_.ranks) result_.form.rank = std::max(result_.form.rank, rank);
    result_.config_text = served_config(server_, config_, pairs_, base_);
    if (server_ == Server::kVllm) require_rank();
    note_changes();
    return std::move(result_);
  }

 private:
  // What no form of the adapter brings to the server.
  void refuse_features() const {
    const std::string_view name = server_name(server_);
    std::vector<std::string> what;
    const auto any = [&](const Tensor* LoraModule::*part) {
      return std::any_of(content_.modules.begin(), content_.modules.end(),
                         [&](const LoraModule& module) { return module.*part != nullptr; });
    };
    if (config_.use_dora || any(&LoraModule::magnitude)) what.emplace_back("DoRA (use_dora)");
    if (config_.lora_bias || any(&LoraModule::bias)) what.emplace_back("biases of lora_B (lora_bias)");
    if (config_.bias != "none")
      what.push_back(fmt::format("trained biases (bias: {})", escape_name(config_.bias)));
    if (!content_.rows.empty() || !config_.trainable_tokens.empty())
      what.emplace_back("trained rows of embeddings (trainable_token_indices)");
    std::set<std::string> whole;
    for (const ReplacedTensor& tensor : content_.replaced) {
      const std::string module = tensor.name.substr(0, tensor.name.rfind('.'));
      if (!takes_whole(server_, module)) whole.insert(escape_name(module));
    }
    for (const std::string& module : config_.modules_to_save) {
      const bool is_named = std::any_of(whole.begin(), whole.end(),
                                        [&](const std::string& one) { return ends_in_path(one, module); });
      if (!is_named && !takes_whole(server_, module)) whole.insert(escape_name(module));
    }
    if (!whole.empty())
      what.push_back(fmt::format("modules that are stored whole ({})",
                                 join(std::vector<std::string>(whole.begin(), whole.end()), ", ")));
    if (!what.empty()) throw not_served(fmt::format("{} does not apply {}", name, join(what, ", ")));
    refuse_initialisation();
  }

  // Some ways to begin training change the base, and the adapter is relative to that.
  void refuse_initialisation() const {
    if (config_.initialisation.empty() || config_.initialisation.starts_with("lora_ga")) return;
    throw malformed(
        fmt::format(
            "the run began with {}, which changes the base: {} would apply the adapter to the unchanged one",
            escape_name(config_.initialisation), server_name(server_)))
        .hint("save it with PEFT's path_initial_model_for_weight_conversion");
  }

  void note_skipped() {
    const auto skipped = std::count_if(content_.modules.begin(), content_.modules.end(),
                                       [](const LoraModule& module) { return !module.is_target; });
    if (skipped > 0)
      result_.form.notes.push_back(
          fmt::format("{} left out: the config does not target {}, so PEFT applies nothing of {}",
                      plural(static_cast<std::uint64_t>(skipped), "module"), skipped == 1 ? "it" : "them",
                      skipped == 1 ? "it" : "them"));
  }

  void add_layers(const std::vector<LayerPair>& layers) {
    std::vector<std::string> towers;
    for (const LayerPair& layer : layers) {
      const ServedTensor& tensor = layer.tensor;
      if (tensor.is_made && server_ != Server::kPeft)
        throw not_served(fmt::format("{}: the published model has this layer in another form",
                                     escape_name(tensor.memory)));
      const std::string module = without_weight(server_ == Server::kPeft ? tensor.memory : tensor.published);
      if (!base_.is_of_language_model(tensor.memory)) towers.push_back(escape_name(module));
      pairs_.push_back({module, module, layer.factors, layer.own});
    }
    if (server_ == Server::kVllm && !towers.empty())
      result_.form.notes.push_back(fmt::format(
          "{} of towers and connectors ({}, …): vLLM applies them only with --enable-tower-connector-lora",
          plural(towers.size(), "module"), towers.front()));
  }

  void add_experts(const std::string& name, const std::vector<StackPairs>& container) {
    if (server_ == Server::kPeft || (server_ == Server::kVllm && takes_stacks()))
      return add_stacks(name, container);
    refuse_experts(container);
    for (ServedPair& pair : split_experts(container, result_.form.zeros)) pairs_.push_back(std::move(pair));
  }

  [[nodiscard]] bool takes_stacks() const {
    return std::find(kVllmTakesStacks.begin(), kVllmTakesStacks.end(), base_.architecture()) !=
           kVllmTakesStacks.end();
  }

  void refuse_experts(const std::vector<StackPairs>& container) const {
    for (const StackPairs& pairs : container) {
      if (!pairs.stack->is_divisible)
        throw not_served(fmt::format("{}: {} takes factors of single experts, and these can't be taken apart",
                                     escape_name(pairs.stack->memory), server_name(server_)));
      if (server_ == Server::kVllm) refuse_ranks(pairs);
    }
  }

  // vLLM stacks the experts of a projection, which therefore have one rank.
  static void refuse_ranks(const StackPairs& pairs) {
    std::map<std::size_t, std::uint64_t> ranks;
    for (const auto& [place, pair] : pairs.parts) {
      const std::uint64_t rank = ranks.emplace(place.second, pair.rank).first->second;
      if (rank != pair.rank)
        throw not_served(
            fmt::format("{}: its experts have different ranks ({} and {}), which vLLM does not apply",
                        escape_name(pairs.stack->memory), rank, pair.rank));
    }
  }

  // PEFT's pairs: that of the last parameter has the container's name, those before it are one wrapper deeper each.
  void add_stacks(const std::string& name, const std::vector<StackPairs>& container) {
    std::vector<const StackPairs*> kept;
    for (const StackPairs& pairs : container) {
      const bool is_there = pairs.whole || !pairs.parts.empty();
      if (is_there || server_ == Server::kVllm) kept.push_back(&pairs);
    }
    const std::string module = server_ == Server::kPeft ? name : container.front().stack->published;
    for (std::size_t i = 0; i < kept.size(); ++i) {
      const StackPairs& pairs = *kept[i];
      if (!pairs.whole && pairs.parts.empty()) ++result_.form.zeros;
      std::string wrapper = module;
      for (std::size_t deeper = i + 1; deeper < kept.size(); ++deeper) wrapper += ".base_layer";
      const std::string& memory = pairs.stack->memory;
      pairs_.push_back({wrapper, module + memory.substr(memory.rfind('.')),
                        join_experts(pairs, container, weights_, config_.use_rslora, result_.form.scaled)});
    }
  }

  // Drops the pairs of zeros that a server needed, where all pairs of their kind are zeros.
  void drop_zeros(PairsInBase& pairs) {
    std::map<std::string, bool>
        only_zeros;  // by the last component of a layer, or by the parameter of experts
    const auto note = [&](const std::string& kind, bool zeros) {
      only_zeros[kind] = only_zeros.try_emplace(kind, true).first->second && zeros;
    };
    for (const LayerPair& layer : pairs.layers) {
      const std::string kind = kind_of(layer.tensor.memory);
      const bool has_more = layer.own->bias != nullptr || layer.own->magnitude != nullptr;
      if (only_zeros.try_emplace(kind, true).first->second)
        note(kind, !has_more && is_zero(weights_, layer.factors));
    }
    for (const auto& [name, container] : pairs.containers) {
      for (const StackPairs& one : container)
        note(one.stack->memory.substr(name.size()), has_only_zeros(one, weights_));
    }
    std::erase_if(pairs.layers,
                  [&](const LayerPair& layer) { return only_zeros[kind_of(layer.tensor.memory)]; });
    for (auto& [name, container] : pairs.containers) {
      for (StackPairs& one : container) {
        if (only_zeros[one.stack->memory.substr(name.size())]) one = {one.stack, {}, {}};
      }
    }
  }

  static std::string kind_of(const std::string& tensor) {
    return std::string(last_component(without_weight(tensor)));
  }

  void add_tensors(const ServedPair& pair) {
    const std::string name =
        std::string(kPrefix) +
        (server_ == Server::kPeft ? name_for_peft(base_.names(), pair.module) : pair.module);
    const bool is_embedding = pair.own != nullptr && pair.own->is_embedding;
    const auto add = [&](Tensor tensor, const std::string& slot) {
      tensor.name = name + "." + slot;
      result_.tensors.push_back(std::move(tensor));
    };
    add(pair.factors.a, is_embedding ? "lora_embedding_A" : "lora_A.weight");
    add(pair.factors.b, is_embedding ? "lora_embedding_B" : "lora_B.weight");
    if (pair.own == nullptr) return;  // what follows is only in layers, and refused for servers
    if (pair.own->bias != nullptr) add(*pair.own->bias, "lora_B.bias");
    if (pair.own->magnitude != nullptr) add(*pair.own->magnitude, "lora_magnitude_vector");
  }

  // Tensors other than factors. Servers get the head of a classifier at most, PEFT all that it saves.
  void add_others() {
    for (const ReplacedTensor& tensor : content_.replaced) add_other(*tensor.tensor, tensor.name);
    for (const ReplacedRows& rows : content_.rows) add_other(*rows.rows, rows.module + std::string(kWeight));
    for (const ReplacedTensor& tensor : content_.layers) {
      if (server_ == Server::kPeft)
        add_other(*tensor.tensor, tensor.name);
      else
        refuse_resized(tensor);
    }
  }

  // `changed` is the tensor of the adapter's model, which the other belongs to.
  void add_other(const Tensor& tensor, const std::string& changed) {
    result_.tensors.push_back(tensor);
    if (server_ != Server::kPeft) return;
    const std::string in_base = found_.names(changed);
    const ServedTensor* const stored = base_.tensor(in_base);
    if (stored == nullptr) return;
    const auto module_of = [](const std::string& name) { return name.substr(0, name.rfind('.')); };
    const std::string old_begin = std::string(kPrefix) + module_of(changed) + ".";
    std::string& name = result_.tensors.back().name;
    if (name.starts_with(old_begin))
      name = std::string(kPrefix) + module_of(stored->memory) + "." + name.substr(old_begin.size());
  }

  // The embeddings of the base, saved beside their factors, are left out, unless the vocabulary was resized.
  void refuse_resized(const ReplacedTensor& tensor) const {
    const ServedTensor* const stored = base_.tensor(found_.names(tensor.name));
    if (stored == nullptr || stored->shape == tensor.tensor->shape) return;
    throw not_served(
        fmt::format("{}: the vocabulary was resized ({}, the base has {}), which {} does not apply",
                    escape_name(tensor.name), shape_text(tensor.tensor->shape), shape_text(stored->shape),
                    server_name(server_)));
  }

  void note_changes() {
    const std::string_view name = server_name(server_);
    if (result_.form.zeros > 0)
      result_.form.notes.push_back(fmt::format("{} of zeros added, which {} wants beside the others",
                                               plural(result_.form.zeros, "pair"), name));
    if (result_.form.scaled > 0)
      result_.form.notes.push_back(
          fmt::format("lora_B of {} multiplied, since {} has one scale for all of them",
                      plural(result_.form.scaled, "module"), name));
  }

  void require_rank() {
    const auto* const at = std::lower_bound(kVllmRanks.begin(), kVllmRanks.end(), result_.form.rank);
    if (at == kVllmRanks.end())
      throw malformed(
          fmt::format("its rank is {}, and vLLM takes up to {}", result_.form.rank, kVllmRanks.back()))
          .hint("lora-extract --resize N makes it smaller");
    result_.form.max_rank = *at;
    result_.form.notes.push_back(fmt::format("rank {}: vLLM needs --max-lora-rank {}{}", result_.form.rank,
                                             *at, *at <= kVllmDefaultRank ? " or more (default: 16)" : ""));
  }

  Server server_;
  const AdapterContent& content_;
  const LoraConfig& config_;
  const Input& base_input_;
  ServedBase base_;
  const Weights& weights_;
  AdapterInBase found_;
  std::vector<ServedPair> pairs_;
  ServedAdapter result_;
};

}  // namespace

ServedAdapter serve_adapter(Server server, const AdapterContent& content, const LoraConfig& config,
                            const Weights& weights, const Input& base) {
  return Plan(server, content, config, weights, base).run();
}

}  // namespace mu
