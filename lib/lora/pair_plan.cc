// SPDX-License-Identifier: Apache-2.0
// How two models become a plan. Both are seen as the parameters of their classes first (parameters.h), since PEFT
// knows no files. Every parameter of the tuned model looks for its counterpart in the base by name; if that fails
// for many, a prefix that one side lacks is found by counting (a head may have been left out). Tied heads are
// skipped, since they repeat the embedding. Each pair is then classified by name and shape: a two-dimensional
// weight, or an expert of a three-dimensional stack, gets factors; embeddings, biases and modules named by
// --full-modules are treated as the options say; everything else is stored nowhere, and its changes are reported as
// lost. What would make the result wrong is collected, so that one error names it all: tensors without a
// counterpart and other shapes. Nothing is read here; which matrices really changed shows later (pair.cc).

#include "lora/pair_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/text.h"
#include "lora/leftover.h"
#include "model/families.h"
#include "model/module_path.h"
#include "model/name_table.h"
#include "tensor/format.h"
#include "weights/layout.h"
#include "weights/views.h"

namespace mu {
namespace {

bool is_embedding(std::string_view module) {
  return is_embedding_layer(last_component(module));
}

// Whether its rows belong to tokens, so that it grows with the vocabulary.
bool has_vocabulary(std::string_view module) {
  return is_embedding(module) || last_component(module) == "lm_head" || last_component(module) == "embed_out";
}

// Tensors with more experts get no factors: far above any real model, and it bounds the entries of the plan.
constexpr std::uint64_t kMostExperts = 1U << 14;

// Experts in one parameter: those of a container, or of a three-dimensional linear layer (GraniteMoe, JetMoe).
bool is_stack(const Parameter& parameter) {
  if (parameter.values.shape.size() != 3 || parameter.values.shape[0] > kMostExperts) return false;
  const std::string_view leaf = last_component(parameter.name);
  if (leaf == "weight") {
    const std::string_view layer =
        last_component(std::string_view(parameter.name).substr(0, parameter.name.size() - leaf.size() - 1));
    return layer == "input_linear" || layer == "output_linear";
  }
  return std::find(kExpertParameters.begin(), kExpertParameters.end(), leaf) != kExpertParameters.end();
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
      if (side->quantization)
        throw malformed(fmt::format("{} has a {}, but no tensor is quantised", side->quantization->file,
                                    escape_name(side->quantization->place)))
            .in_file(escape_name(side->name))
            .hint("take it out of the config if the weights are plain");
    }
    plan_.conv1d = tuned_.config && is_conv1d_family(tuned_.config->model_type);
    plan_.task_type = task_type();
    const ParametersOfPair parameters = parameters_of(base_, tuned_);
    plan_.names = parameters.names;
    plan_.seen = parameters.seen;
    note_names();
    for (const Parameter& parameter : parameters.base) base_by_name_.emplace(parameter.name, &parameter);
    for (const Parameter& parameter : parameters.tuned) tuned_by_name_.emplace(parameter.name, &parameter);
    std::vector<std::string> base_names;
    for (const Parameter& parameter : parameters.base) base_names.push_back(parameter.name);
    base_rules_ = Ties(base_.config ? tie_rules_of(*base_.config) : TieRules(), std::move(base_names));
    find_prefix(parameters.tuned);
    for (const Parameter& parameter : parameters.tuned) {
      if (is_dropped(o_.tuned_ties, parameter.file_name)) continue;  // repeats the embedding
      add(parameter);
    }
    for (const Parameter& parameter : parameters.base) {
      if (seen_.contains(&parameter)) continue;
      if (is_dropped(o_.base_ties, parameter.file_name)) continue;
      add_leftover(parameter, base_.config, "the base");
    }
    note_leftovers();
    if (!unlike_.empty()) refuse();
    return std::move(plan_);
  }

 private:
  void note_names() {
    const SeenNames &base = plan_.seen.base, &tuned = plan_.seen.tuned;
    const auto add = [&](std::uint64_t count, std::string_view side, std::string_view what) {
      if (count > 0)
        plan_.notes.push_back(fmt::format("{} of the {} {} {}", plural(count, "tensor"), side,
                                          count == 1 ? "has" : "have", what));
    };
    add(tuned.published, "tuned model",
        "the names of the model class in the adapter, not those of the files");
    if (tuned.published == 0)
      add(base.published, "base", "published names, the tuned model those of the model class in memory");
    add(base.older, "base", "older names, taken for today's");
    add(tuned.older, "tuned model", "older names, taken for today's");
  }

  static bool is_dropped(const std::vector<TiedName>& ties, const std::string& name) {
    return std::any_of(ties.begin(), ties.end(),
                       [&name](const TiedName& pair) { return pair.dropped == name; });
  }

  std::string task_type() const {
    if (!tuned_.config || tuned_.config->architectures.empty()) return "";
    const std::string& name = tuned_.config->architectures.front();
    if (name.ends_with("ForCausalLM") || name.ends_with("LMHeadModel")) return "CAUSAL_LM";
    if (name.ends_with("ForSequenceClassification")) return "SEQ_CLS";
    if (name.ends_with("ForTokenClassification")) return "TOKEN_CLS";
    if (name.ends_with("ForQuestionAnswering")) return "QUESTION_ANS";
    return "";
  }

  using ParametersByName = std::unordered_map<std::string_view, const Parameter*>;

  const Parameter* find(const std::string& name) const {
    std::string there = name;
    if (!add_.empty()) there = add_ + there;
    if (!strip_.empty() && there.starts_with(strip_)) there.erase(0, strip_.size());
    auto found = base_by_name_.find(there);
    if (found == base_by_name_.end()) found = base_by_name_.find(base_rules_.kept_name_of(there));
    return found == base_by_name_.end() ? nullptr : found->second;
  }

  // One side may have been saved without its head, so that its names lack the first component.
  void find_prefix(const std::vector<Parameter>& tuned) {
    const auto misses = [&] {
      return std::count_if(tuned.begin(), tuned.end(),
                           [&](const Parameter& parameter) { return find(parameter.name) == nullptr; });
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

  void add(const Parameter& parameter) {
    const Parameter* const old = find(parameter.name);
    PairTensor pair;
    pair.name = parameter.file_name;
    pair.parameter = parameter.name;
    pair.tuned = parameter.made_of.front();
    pair.tuned_tensors = parameter.made_of.size();
    pair.tuned_values = parameter.values;
    pair.count = parameter.values.element_count();
    if (old != nullptr) {
      pair.base = old->made_of.front();
      pair.base_values = old->values;
      seen_.insert(old);
    }
    const std::string leaf(last_component(parameter.name));
    pair.module = leaf == "weight" || leaf == "bias"
                      ? parameter.name.substr(0, parameter.name.size() - leaf.size() - 1)
                      : parameter.name;
    if (!classify(pair, parameter, old, leaf)) return;
    if (is_matrix(pair) && is_stack(parameter)) return add_experts(pair, parameter);
    if (is_matrix(pair)) {
      pair.rows = parameter.values.shape[0];
      pair.columns = parameter.values.shape[1];
      pair.by_parameter = pair.kind == PairKind::kLinear && is_parameter(pair.module);
    }
    plan_.tensors.push_back(std::move(pair));
  }

  // Routers of experts are not linear layers, and PEFT turns the names of some layers into those of experts.
  bool is_parameter(const std::string& module) {
    const std::string_view leaf = last_component(module);
    if (tuned_.config) {
      const auto [at, fresh] = becomes_parameter_.try_emplace(std::string(leaf), false);
      if (fresh) at->second = becomes_expert_parameter(tuned_.config->model_type, leaf);
      if (at->second) return true;
    }
    if (leaf != "router" && leaf != "gate") return false;
    const std::string container = module.substr(0, module.size() - leaf.size()) + "experts.";
    return std::any_of(kExpertParameters.begin(), kExpertParameters.end(), [&](std::string_view stack) {
      return tuned_by_name_.contains(container + std::string(stack));
    });
  }

  void add_experts(PairTensor pair, const Parameter& parameter) {
    const std::vector<std::uint64_t>& shape = parameter.values.shape;
    const std::string container = pair.module.substr(0, pair.module.rfind('.') + 1);
    const auto gate_up = tuned_by_name_.find(container + "gate_up_proj"),
               down = tuned_by_name_.find(container + "down_proj");
    pair.transposed =
        gate_up != tuned_by_name_.end() && down != tuned_by_name_.end() &&
        has_transposed_experts(gate_up->second->values.shape, down->second->values.shape,
                               tuned_.config ? std::string_view(tuned_.config->model_type) : "");
    pair.in_stack = true;
    pair.rows = shape[1];
    pair.columns = shape[2];
    pair.count = pair.rows * pair.columns;
    const std::string module = pair.module;
    const Tensor base = std::move(pair.base_values), tuned = std::move(pair.tuned_values);
    for (std::uint64_t expert = 0; expert < shape[0]; ++expert) {
      pair.module = fmt::format("{}[{}]", module, expert);
      pair.first = expert * pair.count;
      pair.base_values = select(base, 0, expert);
      pair.tuned_values = select(tuned, 0, expert);
      plan_.tensors.push_back(pair);
    }
  }

  // A parameter that one model has alone: left out with a note if that is known or wanted, else an error.
  void add_leftover(const Parameter& parameter, const std::optional<ModelConfig>& config,
                    std::string_view side) {
    const std::optional<Leftover> known = leftover_of(parameter.name, parameter.values.shape, config);
    const bool is_new_head = known == Leftover::kHead && side != "the base";
    const std::string module = parameter.name.substr(0, parameter.name.rfind('.'));
    const bool excluded = matches_any(o_.excludes, module) || matches_any(o_.excludes, parameter.name) ||
                          matches_any(o_.excludes, parameter.file_name);
    if (excluded || (known && !is_new_head))
      (side == "the base" ? left_in_base_ : left_in_tuned_).push_back(parameter.file_name);
    else
      unlike_.push_back(fmt::format("'{}' is only in {}", escape_name(parameter.file_name), side));
  }

  void note_leftovers() {
    for (const auto& [side, names] :
         {std::pair("the base", &left_in_base_), {"the tuned model", &left_in_tuned_}}) {
      if (names->empty()) continue;
      plan_.notes.push_back(
          fmt::format("{} only in {} and left out: {}",
                      names->size() == 1 ? "1 tensor is" : fmt::format("{} tensors are", names->size()), side,
                      first_names(*names)));
    }
  }

  static std::string first_names(const std::vector<std::string>& names) {
    constexpr std::size_t kShown = 5;
    std::string list;
    for (std::size_t i = 0; i < std::min(kShown, names.size()); ++i)
      list += (i > 0 ? ", " : "") + escape_name(names[i]);
    return names.size() > kShown ? list + fmt::format(" and {} more", names.size() - kShown) : list;
  }

  // False if the parameter has no place in the plan.
  bool classify(PairTensor& pair, const Parameter& parameter, const Parameter* old, const std::string& leaf) {
    using Embeddings = PairOptions::Embeddings;
    const std::vector<std::uint64_t>& shape = parameter.values.shape;
    const bool matrix =
        !parameter.is_opaque && (is_stack(parameter) || (leaf == "weight" && shape.size() == 2));
    for (const Tensor* side : {pair.base, pair.tuned}) {
      if (side == nullptr || !matrix || is_plain_float(side->dtype)) continue;
      throw malformed(fmt::format("'{}' is {}: differences of quantised weights mean nothing",
                                  escape_name(side->name), type_text(*side)))
          .in_file(escape_name(side == pair.base ? base_.name : tuned_.name));
    }
    if (pair.base == nullptr) {
      if (!matches_any(o_.full_modules, pair.module)) {
        add_leftover(parameter, tuned_.config, "the tuned model");
        return false;
      }
      pair.kind = PairKind::kFull;
      return true;
    }
    const bool words = has_vocabulary(pair.module);
    const std::vector<std::uint64_t>& before = old->values.shape;
    if (before != shape) {
      const bool grown = matrix && words && shape.size() == 2 && before.size() == 2 && before[1] == shape[1];
      // What is left out may differ in shape; that it changed is reported.
      pair.extended = true;
      if (!grown && matches_any(o_.excludes, pair.module)) return true;
      if (!grown) {
        unlike_.push_back(fmt::format("'{}' is {} in the base and {} in the tuned model",
                                      escape_name(pair.name), shape_text(before), shape_text(shape)));
        return false;
      }
      if (o_.embeddings == Embeddings::kUnsaid || o_.embeddings == Embeddings::kLora)
        throw malformed(
            fmt::format("'{}' has {} rows in the base and {} in the tuned model: the vocabulary changed",
                        escape_name(pair.name), before[0], shape[0]))
            .in_file(escape_name(tuned_.name))
            .hint("--embeddings full stores embeddings whole, --embeddings skip leaves their changes out");
    }
    const bool excluded = matches_any(o_.excludes, pair.module) ||
                          (!o_.targets.empty() && !matches_any(o_.targets, pair.module));
    // Whole tensors alone can be stored whole.
    const bool whole = is_one_tensor(pair) && !parameter.is_opaque;
    const bool is_head = !excluded && is_head_of_task(plan_.task_type, pair.parameter);
    if (whole && (is_head || matches_any(o_.full_modules, pair.module))) {
      pair.kind = PairKind::kFull;
    } else if (leaf == "bias") {
      pair.kind = whole && o_.biases ? PairKind::kBias : PairKind::kOther;
    } else if (!matrix || excluded || is_refused(pair.module)) {
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
    return true;
  }

  bool is_refused(const std::string& module) const {
    return tuned_.config && is_refused_by_peft(tuned_.config->model_type, last_component(module));
  }

  [[noreturn]] void refuse() const {
    constexpr std::size_t kShown = 5;
    std::string list;
    for (std::size_t i = 0; i < std::min(kShown, unlike_.size()); ++i)
      list += (i > 0 ? "; " : "") + unlike_[i];
    if (unlike_.size() > kShown) list += fmt::format("; and {} more", unlike_.size() - kShown);
    throw malformed("the models don't match: " + list)
        .in_file(escape_name(tuned_.name))
        .hint(
            "is it the base this model was tuned from? --full-modules GLOB stores new modules whole, "
            "--exclude GLOB leaves out what the adapter can do without");
  }

  const Input& base_;
  const Input& tuned_;
  const PairOptions& o_;
  Ties base_rules_;
  ParametersByName base_by_name_, tuned_by_name_;
  std::set<const Parameter*> seen_;                          // of the base
  std::unordered_map<std::string, bool> becomes_parameter_;  // what the table says, by last component
  std::string add_, strip_;                                  // what names in the base begin with, or lack
  std::vector<std::string> unlike_, left_in_base_, left_in_tuned_;
  PairPlan plan_;
};

}  // namespace

PairPlan plan_pair(const Input& base, const Input& tuned, const PairOptions& options) {
  return Planner(base, tuned, options).plan();
}

}  // namespace mu
