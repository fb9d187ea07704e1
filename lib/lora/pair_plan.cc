// SPDX-License-Identifier: Apache-2.0
// How two models become a plan. Every tensor of the tuned model looks for its counterpart in the base by
// name; if that fails for many, a prefix that one side lacks is found by counting (a head may have been left
// out). Tied heads are skipped, since they repeat the embedding. Each pair is then classified by name and
// shape: a two-dimensional weight, or an expert of a three-dimensional stack, gets factors; embeddings,
// biases and modules named by --full-modules are treated as the options say; everything else is stored
// nowhere, and its changes are reported as lost. What would make the result wrong is collected, so that one
// error names it all: tensors without a counterpart and other shapes. Nothing is read here; which matrices
// really changed shows later (pair.cc).

#include "lora/pair_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "lora/families.h"
#include "model/tied.h"
#include "tensor/format.h"
#include "weights/layout.h"

namespace mu {
namespace {

// The last components of the names that families give to their input embeddings.
constexpr std::array<std::string_view, 12> kEmbeddings = {"embed_tokens",
                                                          "wte",
                                                          "wpe",
                                                          "word_embeddings",
                                                          "tok_embeddings",
                                                          "embed_in",
                                                          "shared",
                                                          "embeddings",
                                                          "embed_positions",
                                                          "position_embeddings",
                                                          "token_type_embeddings",
                                                          "embed_tokens_per_layer"};

std::string_view last_component(std::string_view name) {
  return name.substr(name.rfind('.') + 1);
}

bool is_embedding(std::string_view module) {
  return std::find(kEmbeddings.begin(), kEmbeddings.end(), last_component(module)) != kEmbeddings.end();
}

// Whether its rows belong to tokens, so that it grows with the vocabulary.
bool has_vocabulary(std::string_view module) {
  return is_embedding(module) || last_component(module) == "lm_head" || last_component(module) == "embed_out";
}

// Tensors with more experts get no factors: far above any real model, and it bounds the entries of the plan.
constexpr std::uint64_t kMostExperts = 1U << 14;

bool is_stack(const Tensor& tensor) {
  const std::string_view leaf = last_component(tensor.name);
  return tensor.shape.size() == 3 && tensor.shape[0] <= kMostExperts &&
         std::find(kExpertParameters.begin(), kExpertParameters.end(), leaf) != kExpertParameters.end();
}

bool matches_any(const std::vector<Glob>& globs, const std::string& name) {
  return std::any_of(globs.begin(), globs.end(), [&](const Glob& glob) { return glob.matches(name); });
}

class Planner {
 public:
  Planner(const Input& base, const Input& tuned, const PairOptions& options)
      : base_(base), tuned_(tuned), o_(options) {}

  PairPlan plan() {
    for (const Input* side : {&base_, &tuned_}) {
      if (side->config && side->config->quantized)
        throw malformed(
            "config.json has a quantization_config: differences of quantised weights mean nothing")
            .in_file(escape_name(side->name));
    }
    plan_.conv1d = tuned_.config && is_conv1d_family(tuned_.config->model_type);
    plan_.task_type = task_type();
    by_name_ = tensors_by_name(base_.weights);
    find_prefix();
    const bool tied = tuned_.config && tuned_.config->tie_word_embeddings.value_or(false);
    tuned_by_name_ = tensors_by_name(tuned_.weights);
    for (const Tensor& tensor : tuned_.weights.tensors) {
      if (tied && !kept_name_of(tensor.name, tuned_by_name_).empty()) continue;  // repeats the embedding
      add(tensor);
    }
    for (const Tensor& tensor : base_.weights.tensors) {
      if (seen_.contains(tensor.name)) continue;
      if (tied && !kept_name_of(tensor.name, by_name_).empty()) continue;
      unlike_.push_back(fmt::format("'{}' is only in the base", escape_name(tensor.name)));
    }
    if (!unlike_.empty()) refuse();
    return std::move(plan_);
  }

 private:
  std::string task_type() const {
    if (!tuned_.config || tuned_.config->architectures.empty()) return "";
    const std::string& name = tuned_.config->architectures.front();
    if (name.ends_with("ForCausalLM") || name.ends_with("LMHeadModel")) return "CAUSAL_LM";
    if (name.ends_with("ForSequenceClassification")) return "SEQ_CLS";
    if (name.ends_with("ForTokenClassification")) return "TOKEN_CLS";
    if (name.ends_with("ForQuestionAnswering")) return "QUESTION_ANS";
    return "";
  }

  const Tensor* find(const std::string& name) const {
    std::string there = name;
    if (!add_.empty()) there = add_ + there;
    if (!strip_.empty() && there.starts_with(strip_)) there.erase(0, strip_.size());
    const auto found = by_name_.find(there);
    return found == by_name_.end() ? nullptr : found->second;
  }

  // One side may have been saved without its head, so that its names lack the first component.
  void find_prefix() {
    const auto misses = [&] {
      return std::count_if(tuned_.weights.tensors.begin(), tuned_.weights.tensors.end(),
                           [&](const Tensor& tensor) { return find(tensor.name) == nullptr; });
    };
    auto best = misses();
    if (best == 0) return;
    std::string best_add, best_strip;
    for (const std::string_view prefix : {"model.", "transformer.", "language_model.", "base_model."}) {
      for (const bool adds : {true, false}) {
        (adds ? add_ : strip_) = prefix;
        if (const auto count = misses(); count < best) {
          best = count;
          best_add = add_;
          best_strip = strip_;
        }
        add_.clear();
        strip_.clear();
      }
    }
    add_ = best_add;
    strip_ = best_strip;
    if (!add_.empty() || !strip_.empty())
      plan_.notes.push_back(fmt::format("names in the {} begin with '{}', names in the other model don't",
                                        add_.empty() ? "tuned model" : "base", add_.empty() ? strip_ : add_));
  }

  void add(const Tensor& tensor) {
    PairTensor pair;
    pair.name = tensor.name;
    pair.tuned = &tensor;
    pair.count = tensor.element_count();
    pair.base = find(tensor.name);
    const std::size_t dot = tensor.name.rfind('.');
    const std::string leaf(last_component(tensor.name));
    pair.module = leaf == "weight" || leaf == "bias" ? tensor.name.substr(0, dot) : tensor.name;
    if (pair.base != nullptr) seen_.insert(pair.base->name);
    classify(pair, leaf);
    if (is_matrix(pair) && is_stack(tensor)) return add_experts(pair);
    if (is_matrix(pair)) {
      pair.rows = tensor.shape[0];
      pair.columns = tensor.shape[1];
      pair.is_router = is_router(pair.module);
    }
    plan_.tensors.push_back(std::move(pair));
  }

  bool is_router(const std::string& module) const {
    if (last_component(module) != "router" && last_component(module) != "gate") return false;
    const std::string stack =
        module.substr(0, module.rfind('.') + 1) + "experts." + std::string(kExpertParameters[0]);
    return tuned_by_name_.contains(stack);
  }

  void add_experts(PairTensor pair) {
    const std::vector<std::uint64_t>& shape = pair.tuned->shape;
    const std::string container = pair.module.substr(0, pair.module.rfind('.') + 1);
    const auto gate_up = tuned_by_name_.find(container + std::string(kExpertParameters[0])),
               down = tuned_by_name_.find(container + std::string(kExpertParameters[1]));
    pair.transposed =
        gate_up != tuned_by_name_.end() && down != tuned_by_name_.end() &&
        has_transposed_experts(gate_up->second->shape, down->second->shape,
                               tuned_.config ? std::string_view(tuned_.config->model_type) : "");
    pair.in_stack = true;
    pair.rows = shape[1];
    pair.columns = shape[2];
    pair.count = pair.rows * pair.columns;
    const std::string module = pair.module;
    for (std::uint64_t expert = 0; expert < shape[0]; ++expert) {
      pair.module = fmt::format("{}[{}]", module, expert);
      pair.first = expert * pair.count;
      plan_.tensors.push_back(pair);
    }
  }

  void classify(PairTensor& pair, const std::string& leaf) {
    using Embeddings = PairOptions::Embeddings;
    const std::vector<std::uint64_t>& shape = pair.tuned->shape;
    const bool stack = is_stack(*pair.tuned), matrix = stack || (leaf == "weight" && shape.size() == 2);
    for (const Tensor* side : {pair.base, pair.tuned}) {
      if (side == nullptr || !matrix || is_plain_float(side->dtype)) continue;
      throw malformed(fmt::format("'{}' is {}: differences of quantised weights mean nothing",
                                  escape_name(side->name), type_text(*side)))
          .in_file(escape_name(side == pair.base ? base_.name : tuned_.name));
    }
    if (pair.base == nullptr) {
      if (matches_any(o_.full_modules, pair.module)) {
        pair.kind = PairKind::kFull;
      } else {
        unlike_.push_back(fmt::format("'{}' is only in the tuned model", escape_name(pair.name)));
      }
      return;
    }
    const bool words = has_vocabulary(pair.module);
    if (pair.base->shape != shape) {
      const bool grown = matrix && words && shape.size() == 2 && pair.base->shape.size() == 2 &&
                         pair.base->shape[1] == shape[1];
      if (!grown) {
        unlike_.push_back(fmt::format("'{}' is {} in the base and {} in the tuned model",
                                      escape_name(pair.name), shape_text(pair.base->shape),
                                      shape_text(shape)));
        return;
      }
      pair.extended = true;
      if (o_.embeddings == Embeddings::kUnsaid || o_.embeddings == Embeddings::kLora)
        throw malformed(
            fmt::format("'{}' has {} rows in the base and {} in the tuned model: the vocabulary changed",
                        escape_name(pair.name), pair.base->shape[0], shape[0]))
            .in_file(escape_name(tuned_.name))
            .hint("--embeddings full stores embeddings whole, --embeddings skip leaves their changes out");
    }
    const bool excluded = matches_any(o_.excludes, pair.module) ||
                          (!o_.targets.empty() && !matches_any(o_.targets, pair.module));
    if (matches_any(o_.full_modules, pair.module)) {
      pair.kind = PairKind::kFull;
    } else if (leaf == "bias") {
      pair.kind = o_.biases ? PairKind::kBias : PairKind::kOther;
    } else if (!matrix || excluded) {
      pair.kind = PairKind::kOther;
    } else if (!words) {
      pair.kind = PairKind::kLinear;
      pair.transposed = plan_.conv1d && is_conv1d_layer(last_component(pair.module));
    } else if (o_.embeddings == Embeddings::kFull) {
      pair.kind = PairKind::kFull;
    } else if (o_.embeddings == Embeddings::kLora) {
      pair.kind = is_embedding(pair.module) ? PairKind::kEmbedding : PairKind::kLinear;
      pair.transposed = pair.kind == PairKind::kEmbedding;
    }
  }

  [[noreturn]] void refuse() const {
    constexpr std::size_t kShown = 5;
    std::string list;
    for (std::size_t i = 0; i < std::min(kShown, unlike_.size()); ++i)
      list += (i > 0 ? "; " : "") + unlike_[i];
    if (unlike_.size() > kShown) list += fmt::format("; and {} more", unlike_.size() - kShown);
    throw malformed("the models don't match: " + list)
        .in_file(escape_name(tuned_.name))
        .hint("is it the base this model was tuned from? --full-modules GLOB stores new modules whole");
  }

  const Input& base_;
  const Input& tuned_;
  const PairOptions& o_;
  TensorsByName by_name_, tuned_by_name_;  // of the base, of the tuned model
  std::set<std::string> seen_;
  std::string add_, strip_;  // what names in the base begin with, or lack
  std::vector<std::string> unlike_;
  PairPlan plan_;
};

}  // namespace

PairPlan plan_pair(const Input& base, const Input& tuned, const PairOptions& options) {
  return Planner(base, tuned, options).plan();
}

}  // namespace mu
