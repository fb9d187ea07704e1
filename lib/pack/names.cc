// SPDX-License-Identifier: Apache-2.0
// Three steps: name_facts() looks at class and names, decide_names() is the table of cases, and name_tensors() carries
// the decision out with model/renaming.h. Names change only if exactly one side is there: a model that was published
// holds at least one name which only files have, so that it is never renamed, whatever else lies in it.
#include "pack/names.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "model/adapter_names.h"
#include "model/name_table.h"
#include "model/renaming.h"

namespace mu {
namespace {

using Class = NameFacts::Class;
using Experts = NamesOptions::Experts;

Class class_of(const ModelConfig& config, const TensorNames* names) {
  if (config.root.find("auto_map") != nullptr) return Class::kOwnCode;
  if (names != nullptr) return names->name_class().is_automatic ? Class::kRenames : Class::kUntold;
  if (!config.architectures.empty())
    return is_plain_class(config.architectures.front()) ? Class::kPlain : Class::kUnknown;
  return is_plain_type(config.model_type) ? Class::kPlain : Class::kNone;
}

bool converts_values(const NameClass& one) {
  return std::any_of(one.save.begin(), one.save.end(),
                     [](const NameRule& rule) { return rule.kind == NameRule::Kind::kConvert; });
}

// Whether tensors of an adapter are among them; a bias alone may be anybody's.
bool holds_adapter(const std::vector<Tensor>& tensors) {
  return std::any_of(tensors.begin(), tensors.end(), [](const Tensor& tensor) {
    const AdapterPiece piece = parse_adapter_name(tensor.name).piece;
    return piece != AdapterPiece::kBase && piece != AdapterPiece::kBias;
  });
}

// What the user asked for, as messages call it.
std::string_view demand_of(const NamesOptions& options) {
  if (!options.experts) return "--names published";
  return *options.experts == Experts::kSplit ? "--experts split" : "--experts stack";
}

// Why published names are not to be had from this class; empty if they are.
std::string fault_of_class(const NameFacts& facts) {
  switch (facts.of) {
    case Class::kNone:
      return "no config.json names its class";
    case Class::kOwnCode:
      return "its config.json has an auto_map: the class comes with its own code, whose names nobody knows";
    case Class::kUnknown:
      return fmt::format("transformers 5.23 has no class {}", quoted_name(facts.name));
    case Class::kUntold:
      return fmt::format("of {}, names in memory and published ones can't be told apart",
                         quoted_name(facts.name));
    case Class::kPlain:
    case Class::kRenames:
      break;
  }
  return "";
}

std::string left_text(const NameFacts& facts) {
  const TensorNames::Counts& counts = facts.counts;
  if (counts.memory > 0 && counts.published > 0)
    return fmt::format("names of both kinds ({} memory's, {} published): left as they are", counts.memory,
                       counts.published);
  if (counts.foreign > 0)
    return fmt::format(
        "{} that belong{} to neither memory nor files, such as {}: all names are left as they are",
        plural(counts.foreign, "name"), counts.foreign == 1 ? "s" : "", quoted_name(counts.a_foreign));
  return "";
}

// Names of both kinds, or of neither.
Error mixed(const NameFacts& facts, std::string_view demand) {
  const TensorNames::Counts& counts = facts.counts;
  if (counts.memory > 0 && counts.published > 0)
    return malformed(fmt::format(
        "{} needs names of one kind, not memory's ({}, such as {}) beside published ones ({}, such as {})",
        demand, counts.memory, quoted_name(counts.a_memory), counts.published,
        quoted_name(counts.a_published)));
  return malformed(
      fmt::format("{} needs names that {} knows, but {} belong{} to neither memory nor files, such as {}",
                  demand, facts.name, plural(counts.foreign, "name"), counts.foreign == 1 ? "s" : "",
                  quoted_name(counts.a_foreign)));
}

// Of an input whose names stay, whatever they are.
std::optional<NameDecision> kept_whatever_the_names(const NamesOptions& options, const NameFacts& facts) {
  const bool would_change = facts.counts.memory > 0;
  if (!options.looks()) return NameDecision();
  if (facts.is_adapter) {
    if (options.experts)
      throw malformed(fmt::format("{} is for models: this holds an adapter", demand_of(options)));
    return NameDecision{.left = would_change ? "names of an adapter: left as they are" : ""};
  }
  if (!facts.is_whole && !options.demands()) return NameDecision();
  if (facts.is_quantised) {
    if (options.demands())
      throw refused(fmt::format("{} needs plain weights, but config.json says that these are quantised",
                                demand_of(options)))
          .hint("make them plain with --dequantize, or leave names as they are with --names as-is");
    return NameDecision{.left = would_change ? "memory's names of quantised weights: left as they are" : ""};
  }
  if (const std::string fault = fault_of_class(facts); !fault.empty()) {
    if (options.demands())
      throw malformed(fmt::format("{} needs to know the model: {}", demand_of(options), fault))
          .hint("--names as-is keeps names as they are");
    return NameDecision();
  }
  return std::nullopt;
}

}  // namespace

NameFacts name_facts(const Input& input, const TensorNames* names) {
  const ModelConfig* const config = input.class_config();
  NameFacts facts;
  facts.is_adapter = input.is_adapter();
  facts.is_quantised = input.quantization.has_value();
  facts.is_whole = config != nullptr && (input.folder || input.choice.is_index);
  if (config == nullptr) return facts;
  facts.of = class_of(*config, names);
  facts.name = config->architectures.empty() ? config->model_type : config->architectures.front();
  if (facts.of != Class::kRenames) return facts;
  facts.converts = converts_values(names->name_class());
  facts.counts = names->side_of(input.weights.tensors);
  facts.is_adapter = facts.is_adapter || (facts.counts.memory > 0 && holds_adapter(input.weights.tensors));
  return facts;
}

NameDecision decide_names(const NamesOptions& options, const NameFacts& facts) {
  if (const std::optional<NameDecision> kept = kept_whatever_the_names(options, facts)) return *kept;
  if (options.experts && !facts.converts)
    throw malformed(fmt::format("{} has nothing to do: transformers stacks no experts of {}",
                                demand_of(options), quoted_name(facts.name)));
  const TensorNames::Counts& counts = facts.counts;
  if (counts.is_memory()) {
    if (options.experts == Experts::kStack) return {};
    return {.change = NameChange::kToPublished};
  }
  if (counts.is_published()) {
    if (options.experts == Experts::kStack && counts.published > 0) return {.change = NameChange::kToMemory};
    return {};
  }
  if (options.demands()) throw mixed(facts, demand_of(options)).hint("--names as-is keeps names as they are");
  return {.left = left_text(facts)};
}

std::string side_text(const NameFacts& facts) {
  if (facts.of == Class::kPlain) return "neutral";
  if (facts.of != Class::kRenames) return "unknown";
  const TensorNames::Counts& counts = facts.counts;
  if (counts.memory > 0 && counts.published > 0) return "mixed";
  if (counts.foreign > 0) return "foreign";
  if (counts.memory > 0) return "memory";
  return counts.published > 0 ? "published" : "neutral";
}

namespace {

std::string change_line(const NamesReport& report) {
  const bool publishes = report.change == NameChange::kToPublished;
  const std::string becomes =
      report.before == report.after ? "" : fmt::format(" ({} -> {})", report.before, report.after);
  return fmt::format("{} names: {} of {} written under {} names{}", publishes ? "memory's" : "published",
                     report.changed, plural(report.before, "tensor"), publishes ? "published" : "memory's",
                     becomes);
}

bool is_same_place(const Tensor& one, const Tensor& other) {
  return one.source == other.source && one.offset == other.offset && one.size == other.size &&
         one.layout == other.layout && one.shape == other.shape;
}

// The list under its new names. Tensors that are neither cut nor joined stay those of the input.
std::vector<PackedTensor> packed_from(const std::vector<PackedTensor>& chosen, Renaming renaming,
                                      MadeTensors& made) {
  const auto list = std::make_shared<std::vector<Tensor>>();
  list->reserve(renaming.items.size());  // pointers to its tensors stay valid
  std::vector<PackedTensor> named;
  named.reserve(renaming.items.size());
  for (Renaming::Item& item : renaming.items) {
    const Tensor* input = chosen[item.from.front()].input;
    TensorSpec output = {item.tensor.name, item.tensor.dtype, item.tensor.shape, item.tensor.size};
    std::vector<const Tensor*> sources = chosen[item.from.front()].made_of;
    if (item.from.size() > 1 || !is_same_place(item.tensor, *input)) {
      sources.clear();
      for (const std::size_t from : item.from) {
        const std::span<const Tensor* const> own = chosen[from].sources();
        sources.insert(sources.end(), own.begin(), own.end());
      }
      input = &list->emplace_back(std::move(item.tensor));
    }
    named.push_back({input, std::move(output), std::move(sources), item.block});
  }
  made = list;
  return named;
}

Renaming renamed(const std::vector<PackedTensor>& chosen, const TensorNames& names, const ModelConfig& config,
                 NameChange change) {
  std::vector<Tensor> tensors;
  tensors.reserve(chosen.size());
  for (const PackedTensor& one : chosen) tensors.push_back(*one.input);
  return change == NameChange::kToPublished ? to_published(tensors, names, config)
                                            : to_memory(tensors, names, config);
}

// A tensor whose values are made in a way that nobody has written down here; empty if there is none.
std::string opaque_name(const Renaming& renaming) {
  const auto found = std::find_if(renaming.items.begin(), renaming.items.end(),
                                  [](const Renaming::Item& item) { return item.is_opaque; });
  return found == renaming.items.end() ? "" : found->tensor.name;
}

}  // namespace

std::optional<NamesReport> name_tensors(std::vector<PackedTensor>& chosen, const Input& input,
                                        const NamesOptions& options, MadeTensors& made) {
  if (!options.looks()) return std::nullopt;
  const ModelConfig* const config = input.class_config();
  const std::shared_ptr<const TensorNames> names = config == nullptr ? nullptr : TensorNames::of(*config);
  const NameFacts facts = name_facts(input, names.get());
  const NameDecision decision = decide_names(options, facts);
  NamesReport report{.side = side_text(facts), .counts = facts.counts, .line = decision.left};
  report.before = report.after = chosen.size();
  if (decision.change == NameChange::kNone) return report;
  Renaming renaming = renamed(chosen, *names, *config, decision.change);
  if (const std::string name = opaque_name(renaming); !name.empty()) {
    const std::string fault =
        fmt::format("how {} makes {} is not known here", quoted_name(facts.name), quoted_name(name));
    if (options.demands()) throw malformed(fmt::format("{}: {}", demand_of(options), fault));
    report.line = fault + ": all names are left as they are";
    return report;
  }
  report.change = decision.change;
  report.changed = renaming.changed;
  chosen = packed_from(chosen, std::move(renaming), made);
  report.after = chosen.size();
  if (report.changed > 0) report.line = change_line(report);
  return report;
}

}  // namespace mu
