// SPDX-License-Identifier: Apache-2.0
// Counts parameters as the Hub does (huggingface.js: packages/hub/src/lib/parse-safetensors-metadata.ts):
// every tensor except scalars and the scales of quantisation; a packed value counts as many as it holds.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "base/glob.h"
#include "base/regex.h"
#include "base/text.h"
#include "card/gather.h"
#include "weights/layout.h"

namespace mu {
namespace {

// The names of modules in quantisation settings: whole names, globs, and regular expressions of Python after "re:",
// which match from the start. Prepared once, since lists and models are long; all lists of a model share a budget.
class Modules {
 public:
  explicit Modules(std::shared_ptr<RegexBudget> budget) : budget_(std::move(budget)) {}

  void add_glob(std::string_view glob) {
    if (globs_.size() < kMost) globs_.emplace_back(glob);
  }
  void add(const std::string& pattern) {
    if (!pattern.starts_with("re:")) {
      names_.insert(pattern);
    } else if (patterns_.size() < kMost) {
      patterns_.emplace_back(pattern.substr(3));
    }
  }
  // Throws kMalformed for a pattern that Python does not read or that takes too long.
  [[nodiscard]] bool has(std::string_view module) const {
    return names_.contains(module) || matches_any(globs_, module) ||
           std::any_of(patterns_.begin(), patterns_.end(), [&](const Regex& pattern) {
             return pattern.match_start(module, *budget_).has_value();
           });
  }

 private:
  static constexpr std::size_t kMost = 1000;  // each is tried on every tensor

  std::shared_ptr<RegexBudget> budget_;
  std::set<std::string, std::less<>> names_;
  std::vector<Glob> globs_;
  std::vector<Regex> patterns_;
};

// Which modules a group of compressed-tensors packs, and into how many bits.
struct Group {
  Modules targets;
  bool takes_all = false;  // "Linear", the class of what is packed
  std::uint64_t bits = 0;
};

struct Quantisation {
  std::string method;
  std::uint64_t bits = 0;
  bool four_bit = false, packed = false, four_bit_experts = false;
  std::vector<Group> groups;
  std::shared_ptr<RegexBudget> budget = std::make_shared<RegexBudget>();  // of all patterns
  Modules exempt{budget};                                                 // modules that are not quantised
};

void add_groups(Quantisation& q, const JsonValue& groups) {
  for (const JsonValue::Member& member : groups.members()) {
    const JsonValue* weights = member.value.find("weights");
    if (weights == nullptr || !weights->find_u64("num_bits")) continue;
    Group group{Modules(q.budget)};
    group.bits = *weights->find_u64("num_bits");
    for (const std::string& target : texts_of(member.value.find("targets"))) {
      group.takes_all = group.takes_all || target == "Linear";
      group.targets.add(target);
    }
    q.groups.push_back(std::move(group));
    if (q.groups.size() == 64) return;  // a real model has a few
  }
}

Quantisation quantisation_of(const JsonValue* config) {
  Quantisation q;
  const JsonValue* settings = config == nullptr ? nullptr : config->find("quantization_config");
  if (settings == nullptr && config != nullptr) {
    if (const JsonValue* inner = config->find("text_config")) settings = inner->find("quantization_config");
  }
  if (settings == nullptr || !settings->is_object()) return q;
  const std::string* method = settings->find_string("quant_method");
  q.method = method == nullptr ? "unknown" : *method;
  q.bits = settings->find_u64("bits").value_or(4);
  q.four_bit = settings->find_true("load_in_4bit") || q.method == "mxfp4";
  const std::string* experts = settings->find_string("expert_dtype");
  q.four_bit_experts = experts != nullptr && experts->find("fp4") != std::string::npos;
  if (const std::string* format = settings->find_string("format"))
    q.packed = format->ends_with("pack-quantized");
  if (const JsonValue* groups = settings->find("config_groups"); q.packed && groups != nullptr)
    add_groups(q, *groups);
  for (const std::string& name : texts_of(settings->find("modules_to_not_convert")))
    q.exempt.add_glob(name.find('*') == std::string::npos ? "*" + name + "*" : name);
  for (const std::string& name : texts_of(settings->find("ignore"))) q.exempt.add(name);
  return q;
}

std::uint64_t packed_bits(const Quantisation& q, std::string_view module) {
  if (q.groups.empty()) return q.bits;
  // A group that names the module counts before a group that takes all.
  for (const Group& group : q.groups) {
    if (group.targets.has(module)) return group.bits;
  }
  const auto all =
      std::find_if(q.groups.begin(), q.groups.end(), [](const Group& group) { return group.takes_all; });
  return all == q.groups.end() ? 0 : all->bits;
}

bool is_scale(std::string_view last) {
  static const std::set<std::string_view> kScales = {
      "weight_scale",      "weight_scale_inv", "weight_scale_2",     "weight_global_scale",
      "weight_zero_point", "input_scale",      "input_global_scale", "input_zero_point",
      "zero_point",        "weight_shape",     "weight_g_idx"};
  return kScales.contains(last);
}

// How many parameters one stored element stands for; 0 if none.
std::uint64_t factor(const Tensor& tensor, const Quantisation& q) {
  if (tensor.shape.empty() || tensor.dtype == Dtype::kF8E8M0) return 0;
  if (q.method.empty()) return 1;
  const std::string_view name = tensor.name;
  const std::string_view last = name.substr(name.rfind('.') + 1);
  const std::string_view module = name.substr(0, name.size() - std::min(name.size(), last.size() + 1));
  if (is_scale(last)) return 0;
  if (q.exempt.has(module)) return 1;
  if (q.method == "bitsandbytes") {
    if (last == "absmax" || last == "quant_map" || last == "nested_absmax" || last == "nested_quant_map" ||
        last.starts_with("bitsandbytes__"))
      return 0;
    return tensor.dtype == Dtype::kU8 && q.four_bit ? 2 : 1;
  }
  if (q.method == "gptq" || q.method == "awq") {
    if (last == "qzeros" || last == "g_idx" || last == "scales") return 0;
    if (tensor.dtype == Dtype::kU8) return q.bits == 2 ? 4 : q.bits == 4 ? 2 : 1;
    return last == "qweight" && q.bits > 0 && q.bits <= 32 ? 32 / q.bits : 1;
  }
  if (q.method == "mxfp4" && tensor.dtype == Dtype::kU8) {
    if (name.ends_with("_scales")) return 0;
    return name.find("_blocks") != std::string_view::npos ? 2 : 1;
  }
  if (q.packed && is_integer(tensor.dtype)) {
    const std::uint64_t width = packed_bits(q, module);
    return width == 0 ? 1 : std::max<std::uint64_t>(1, bits(tensor.dtype) / width);
  }
  if (q.method == "fp8" && q.four_bit_experts) {
    const bool routed = name.find(".experts.") != std::string_view::npos &&
                        name.find("shared_experts") == std::string_view::npos;
    return routed && bits(tensor.dtype) == 8 ? 2 : 1;
  }
  return tensor.dtype == Dtype::kU8 && q.four_bit ? 2 : 1;
}

// The number of the layer in "model.layers.12.mlp…", or nullopt.
std::optional<std::string> layer_of(std::string_view name) {
  for (const std::string_view part : split(name, '.')) {
    if (is_digits(part)) return std::string(part);
  }
  return std::nullopt;
}

}  // namespace

void add_parameters(CardFacts& facts, const Weights& weights, const JsonValue* config, bool adapter) {
  constexpr std::string_view kSource = "headers of the weights";
  const Quantisation q = quantisation_of(config);
  double total = 0, saved = 0;
  std::map<std::string, double> by_dtype;
  std::set<std::string> layers;
  for (const Tensor& tensor : weights.tensors) {
    const double count = static_cast<double>(tensor.element_count()) * static_cast<double>(factor(tensor, q));
    const bool full_copy = adapter && tensor.name.find("lora_") == std::string::npos;
    (full_copy ? saved : total) += count;
    by_dtype[std::string(type_name(tensor))] += count;
    const bool head = tensor.name.find(".score.") != std::string::npos ||
                      tensor.name.find(".classifier.") != std::string::npos;
    if (full_copy && head && tensor.shape.size() == 2)
      facts.add_number("labels", static_cast<double>(tensor.shape[0]), kSource);
    if (const std::optional<std::string> layer = layer_of(tensor.name)) layers.insert(*layer);
  }
  facts.add_number(adapter ? "adapter_parameters" : "parameters", total, kSource);
  if (saved > 0) facts.add_number("saved_module_parameters", saved, kSource);
  facts.add_number("bytes", static_cast<double>(weights.total_bytes()), kSource);
  std::vector<std::pair<std::string, double>> order(by_dtype.begin(), by_dtype.end());
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<std::string> dtypes;
  for (const auto& [dtype, count] : order) {
    if (count > 0) dtypes.push_back(dtype);
  }
  facts.add_list("dtypes", dtypes, kSource);
  facts.add_number("files", static_cast<double>(weights.files.size()), kSource);
  if (adapter && !layers.empty())
    facts.add_number("layers_touched", static_cast<double>(layers.size()), kSource);
}

}  // namespace mu
