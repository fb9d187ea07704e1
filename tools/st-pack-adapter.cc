// SPDX-License-Identifier: Apache-2.0
#include "st-pack-adapter.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/in_file.h"
#include "base/sizes.h"
#include "base/text.h"
#include "os/far.h"
#include "os/folder.h"
#include "remote.h"

namespace mu {
namespace {

// A colon that a number follows sets the scale; a folder that is called so comes first, and other colons belong to
// the names of other machines.
AdapterUse parse_use(const std::string& text) {
  AdapterUse use;
  std::string path = text;
  const std::size_t colon = text.rfind(':');
  if (colon != std::string::npos && colon > 0 && !exists(text)) {
    const std::string_view number = std::string_view(text).substr(colon + 1);
    double scale = 0;
    const std::from_chars_result parsed =
        std::from_chars(number.data(), number.data() + number.size(), scale);
    const bool is_number =
        parsed.ec == std::errc() && parsed.ptr == number.data() + number.size() && std::isfinite(scale);
    if (!is_number && !is_far_name(text))
      throw usage(fmt::format("--adapter takes DIR or DIR:SCALE, not '{}'", escape_name(text)));
    if (is_number) {
      use.scale = scale;
      path = text.substr(0, colon);
    }
  }
  path = reach(path);
  use.adapter = std::make_shared<const Adapter>(with_hub_hint(path, [&path] { return open_adapter(path); }));
  in_file(join_path(path, "adapter_config.json"), [&] { require_effect(use.adapter->config); });
  return use;
}

}  // namespace

std::vector<AdapterUse> open_adapters(const std::vector<std::string>& options) {
  std::vector<AdapterUse> uses;
  for (const std::string& option : options) uses.push_back(parse_use(option));
  return uses;
}

ModelChange merge_into(Input& base, const std::vector<AdapterUse>& uses, const std::vector<TiedName>& tied,
                       bool cast) {
  MergeResult result = merge_adapters(base, uses, tied, cast);
  std::vector<std::string> lines;
  for (const AdapterUse& use : uses) {
    const LoraConfig& config = use.adapter->config;
    lines.push_back(fmt::format("{}: {} of rank {}{}{}{}", escape_name(use.adapter->name),
                                plural(use.adapter->modules.size(), "module"), config.rank,
                                config.use_rslora ? ", rsLoRA" : "", config.use_dora ? ", DoRA" : "",
                                use.scale == 1 ? "" : fmt::format(", times {}", use.scale)));
  }
  lines.push_back(fmt::format("{} of the base merged{}", plural(result.merged, "tensor"),
                              result.replaced > 0 ? fmt::format(", {} replaced", result.replaced) : ""));
  for (std::string& note : result.notes) lines.push_back(std::move(note));
  return {std::move(lines), std::move(result.tied), result.unties, std::move(result.config)};
}

namespace {

// The models that the adapters name as their base, each once; empty: none does.
std::string named_bases(const std::vector<AdapterUse>& uses) {
  std::vector<std::string> names;
  for (const AdapterUse& use : uses) {
    const std::string& name = use.adapter->config.base_model;
    const std::string shown = "'" + escape_name(name) + "'";
    if (!name.empty() && std::find(names.begin(), names.end(), shown) == names.end()) names.push_back(shown);
  }
  return join(names, ", ");
}

}  // namespace

void describe_plain_base(PlainChange& change, const std::vector<AdapterUse>& uses, const std::string& base) {
  change.line = fmt::format("is quantised ({}): merged into the dequantised weights ({} in {}, {} -> {})",
                            scheme_text(change.facts), group_digits(change.facts.weights),
                            short_name(change.facts.dtype), format_size(change.facts.stored_bytes),
                            format_size(change.facts.plain_bytes));
  const std::string names = named_bases(uses);
  change.advice =
      fmt::format("to merge into weights from before quantisation, name their folder in the place of {}{}",
                  escape_name(base), names.empty() ? "" : "; adapter_config.json names the base " + names);
}

std::string advice_on_base(const std::vector<AdapterUse>& uses) {
  const std::string names = named_bases(uses);
  return "merge into the weights from before quantisation" +
         (names.empty() ? "" : "; adapter_config.json names the base " + names);
}

std::string adapter_recipe(const std::vector<AdapterUse>& uses, KnownBy by) {
  // What adapters hold whole was merged otherwise by older versions.
  const bool whole = std::any_of(uses.begin(), uses.end(), [](const AdapterUse& use) {
    return !use.adapter->replaced.empty() || !use.adapter->layers.empty();
  });
  Fingerprint recipe(whole ? "adapters 2" : "adapters 1");
  for (const AdapterUse& use : uses) {
    recipe.add(use.adapter->config.text);
    recipe.add(fmt::format("{}", use.scale));
    recipe.add(use.adapter->weights, by);
    // Before patterns were Python's, such an adapter gave another result.
    const LoraConfig& config = use.adapter->config;
    const bool leaves_out = std::any_of(use.adapter->modules.begin(), use.adapter->modules.end(),
                                        [](const LoraModule& module) { return !module.is_target; });
    if (leaves_out || config.rank_pattern.has_expressions() || config.alpha_pattern.has_expressions())
      recipe.add("patterns 2");
  }
  return recipe.finish();
}

}  // namespace mu
