// SPDX-License-Identifier: Apache-2.0
// Names, patterns and the order of groups are judged as match_quantizable_tensors of compressed_tensors/utils/match.py
// judges them, formats as QuantizationScheme says them: the group's own, or that of the whole config.
#include "weights/quant/compressed.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "base/regex.h"
#include "base/text.h"
#include "weights/quant/ct_fp4.h"
#include "weights/quant/ct_packed.h"
#include "weights/quant/ct_scaled.h"
#include "weights/quant/settings.h"

namespace mu {
namespace {

using MakeOfGroup = PlainWeight(const StoredWeight&, const QuantContext&, const CtArgs&);

struct Format {
  std::string_view name;
  std::string_view weight;  // how the name of the tensor ends that holds the values
  MakeOfGroup* make;
};

constexpr std::string_view kWeight = ".weight", kPacked = ".weight_packed";
constexpr std::array<Format, 6> kFormats = {{
    {"pack-quantized", kPacked, plain_ct_packed},
    {"nvfp4-pack-quantized", kPacked, plain_ct_nvfp4},
    {"mxfp4-pack-quantized", kPacked, plain_ct_mxfp4},
    {"int-quantized", kWeight, plain_ct_int},
    {"float-quantized", kWeight, plain_ct_float},
    {"mxfp8-quantized", kWeight, plain_ct_float},
}};

// A list of modules: names, and patterns that match from the beginning of a name.
class Modules {
 public:
  Modules(const JsonValue* list, std::string_view key) {
    if (list == nullptr || list->kind() == JsonValue::Kind::kNull) return;
    const std::vector<std::string> texts = texts_of(list);
    if (!list->is_array() || texts.size() != list->items().size())
      throw malformed(fmt::format("the config's {} is not a list of texts", key));
    for (const std::string& text : texts) {
      constexpr std::string_view kPattern = "re:";
      if (text.starts_with(kPattern))
        patterns_.emplace_back(text.substr(kPattern.size()), text).check();
      else
        names_.insert(text);
    }
  }

  [[nodiscard]] bool empty() const { return names_.empty() && patterns_.empty(); }
  [[nodiscard]] bool has_name(const std::string& name) const { return names_.contains(name); }

  // The entry that a module is named by.
  [[nodiscard]] std::optional<std::string> find(const std::string& module, RegexBudget& budget) const {
    if (names_.contains(module)) return module;
    for (const Regex& pattern : patterns_) {
      if (pattern.match_start(module, budget)) return "re:" + pattern.pattern();
    }
    return std::nullopt;
  }

 private:
  std::unordered_set<std::string> names_;
  std::vector<Regex> patterns_;
};

struct Group {
  Modules targets;
  std::string format;  // empty: what the arguments and the tensors make of it
  CtArgs args;
};

CtStrategy strategy_of(const JsonValue& weights) {
  const std::string* const text = weights.find_string("strategy");
  const JsonValue* const group_size = weights.find("group_size");
  if (text == nullptr) {
    if (find_size(weights, "group_size")) return CtStrategy::kGroup;
    return group_size != nullptr && group_size->number_text() == "-1" ? CtStrategy::kChannel
                                                                      : CtStrategy::kTensor;
  }
  constexpr std::array<std::pair<std::string_view, CtStrategy>, 5> kStrategies = {
      {{"tensor", CtStrategy::kTensor},
       {"channel", CtStrategy::kChannel},
       {"group", CtStrategy::kGroup},
       {"block", CtStrategy::kBlock},
       {"tensor_group", CtStrategy::kTensorGroup}}};
  const std::string lower = lower_ascii(*text);
  const auto* const found = std::find_if(kStrategies.begin(), kStrategies.end(),
                                         [&](const auto& strategy) { return strategy.first == lower; });
  if (found == kStrategies.end())
    throw refused(
        fmt::format("weights that compressed-tensors stored with the strategy {} can't be made plain",
                    escape_name(*text)));
  return found->second;
}

// [128, 128], or "128x128" as older versions wrote it.
std::optional<std::array<std::uint64_t, 2>> block_of(const JsonValue& weights) {
  const JsonValue* const value = weights.find("block_structure");
  if (value == nullptr || value->kind() == JsonValue::Kind::kNull) return std::nullopt;
  std::array<std::uint64_t, 2> block{};
  std::vector<std::string> texts;
  for (const JsonValue& item : value->items()) texts.push_back(item.number_text());
  if (const std::string* const text = value->as_string()) {
    for (const std::string_view part : split(*text, 'x')) texts.emplace_back(part);
  }
  for (std::size_t i = 0; i < block.size(); ++i) {
    const bool good = texts.size() == block.size() && is_digits(texts[i]) && texts[i].size() <= 9;
    block.at(i) = good ? std::stoull(texts[i]) : 0;
    if (block.at(i) == 0)
      throw malformed("the config's block_structure is not a number of rows and one of columns");
  }
  return block;
}

CtArgs read_args(const JsonValue& weights) {
  CtArgs args;
  args.num_bits = find_size(weights, "num_bits").value_or(8);
  const std::string* const type = weights.find_string("type");
  const std::string lower = type == nullptr ? "int" : lower_ascii(*type);
  if (lower != "int" && lower != "float")
    throw malformed(
        fmt::format("the config's type of weights is '{}', neither int nor float", escape_name(*type)));
  args.is_float = lower == "float";
  args.group_size = find_size(weights, "group_size");
  args.strategy = strategy_of(weights);
  args.block_structure = block_of(weights);
  const JsonValue* const symmetric = weights.find("symmetric");
  args.symmetric = symmetric == nullptr || symmetric->as_bool() != false;
  const bool grouped = args.strategy == CtStrategy::kGroup || args.strategy == CtStrategy::kTensorGroup;
  if (grouped != args.group_size.has_value())
    throw malformed("the config's strategy and group_size don't fit together");
  if ((args.strategy == CtStrategy::kBlock) != args.block_structure.has_value())
    throw malformed("the config's strategy and block_structure don't fit together");
  return args;
}

// What changes weights beside quantisation, and is not undone here.
void refuse_transforms(const JsonValue& settings) {
  const JsonValue* const sparsity = settings.find("sparsity_config");
  const std::string* const format = sparsity == nullptr ? nullptr : sparsity->find_string("format");
  if (format != nullptr && *format != "dense")
    throw refused(fmt::format("weights in the sparse format {} can't be made plain", escape_name(*format)));
  const JsonValue* const transforms = settings.find("transform_config");
  const JsonValue* const groups = transforms == nullptr ? nullptr : transforms->find("config_groups");
  if (groups != nullptr && !groups->members().empty())
    throw refused("the weights are rotated (transform_config), and can't be made plain");
}

class Compressed {
 public:
  explicit Compressed(const QuantContext& context)
      : context_(context), ignore_(context.settings.find("ignore"), "ignore") {
    const JsonValue& settings = context.settings;
    refuse_transforms(settings);
    const std::string* const format = settings.find_string("format");
    if (format != nullptr && *format != "mixed-precision") format_ = *format;
    const JsonValue* const groups = settings.find("config_groups");
    if (groups == nullptr || !groups->is_object())
      throw malformed("the config of compressed-tensors has no config_groups");
    for (const JsonValue::Member& group : groups->members()) add_group(group);
  }

  PlainWeight make(const StoredWeight& stored) {
    const std::string& module = stored.module;
    const std::string weight = escape_name(stored.weight->name);
    if (const std::optional<std::string> entry = ignore_.find(module, budget_))
      throw refused(fmt::format("'{}' is stored quantised, and the config's ignore has '{}'", weight,
                                escape_name(*entry)));
    std::string_view other;  // a format that the tensor is not named for
    for (const Group& group : groups_) {
      if (!is_target(group, module)) continue;
      const std::string_view name = format_of(group, stored);
      const auto* const format = std::find_if(kFormats.begin(), kFormats.end(),
                                              [name](const Format& known) { return known.name == name; });
      if (format == kFormats.end())
        throw refused(fmt::format("'{}' is stored in the format {}, which can't be made plain", weight,
                                  escape_name(name)));
      if (stored.weight->name == module + std::string(format->weight)) return make(stored, group, *format);
      other = name;
    }
    if (!other.empty())
      throw refused(fmt::format("'{}' is stored quantised, but not as the config says: in the format {}",
                                weight, other));
    throw refused(fmt::format("'{}' is stored quantised, and no group of the config is for it", weight));
  }

 private:
  void add_group(const JsonValue::Member& group) {
    if (!group.value.is_object())
      throw refused(fmt::format("the config names the preset '{}' instead of saying how weights are stored",
                                escape_name(group.key)));
    const JsonValue* const weights = group.value.find("weights");
    if (weights == nullptr || weights->kind() == JsonValue::Kind::kNull) return;  // of activations alone
    const std::string* const format = group.value.find_string("format");
    groups_.push_back({Modules(group.value.find("targets"), "targets"), format != nullptr ? *format : format_,
                       read_args(*weights)});
  }

  PlainWeight make(const StoredWeight& stored, const Group& group, const Format& format) const {
    const Tensor* const zeros = stored.find(".weight_zero_point");
    if (zeros != nullptr && group.args.symmetric)
      throw refused(fmt::format("the config says that '{}' has no zero points, and '{}' has some",
                                escape_name(stored.weight->name), escape_name(zeros->name)));
    return format.make(stored, context_, group.args);
  }

  [[nodiscard]] bool is_target(const Group& group, const std::string& module) {
    if (module.ends_with("norm")) return false;
    return group.targets.empty() || group.targets.has_name("Linear") ||
           group.targets.find(module, budget_).has_value();
  }

  // As infer_module_format finds it where the config does not say.
  [[nodiscard]] static std::string_view format_of(const Group& group, const StoredWeight& stored) {
    const CtArgs& args = group.args;
    if (!group.format.empty() && group.format != "naive-quantized") return group.format;
    if (!stored.weight->name.ends_with(kPacked)) return args.is_float ? "float-quantized" : "int-quantized";
    if (!args.is_float) return "pack-quantized";
    return args.strategy == CtStrategy::kTensorGroup ? "nvfp4-pack-quantized" : "mxfp4-pack-quantized";
  }

  QuantContext context_;
  Modules ignore_;
  std::string format_;
  std::vector<Group> groups_;
  RegexBudget budget_{60 * RegexBudget::kSecond};  // a hundred thousand modules times hundreds of patterns
};

}  // namespace

PlainOf plain_compressed(const QuantContext& context) {
  return [compressed = std::make_shared<Compressed>(context)](const StoredWeight& stored) {
    return compressed->make(stored);
  };
}

}  // namespace mu
