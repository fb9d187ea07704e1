// SPDX-License-Identifier: Apache-2.0
// Reads the recipe that mergekit leaves beside its result (mergekit_config.yml): the models, in the order in
// which it names them.
#include <algorithm>

#include "card/gather.h"
#include "card/yaml.h"

namespace mu {
namespace {

// Models are under "model" and "base_model", at any depth: models:, slices: - sources:, modules:.
void collect(const YamlValue& value, std::vector<std::string>& names) {
  for (const YamlValue::Member& member : value.members) {
    const bool names_model = member.key == "model" || member.key == "base_model";
    if (names_model && member.value.is_string()) {
      names.push_back(member.value.text);
    } else {
      collect(member.value, names);
    }
  }
  for (const YamlValue& item : value.items) collect(item, names);
}

}  // namespace

void add_merge_recipe(CardFacts& facts, std::string_view text, const std::string& folder) {
  constexpr std::string_view kSource = "mergekit_config.yml";
  const YamlValue recipe = parse_yaml(text, 1);
  std::vector<std::string> names, ids;
  collect(recipe, names);
  for (const std::string& name : names) {
    const std::optional<BaseName> base = base_from_name(name.substr(0, name.find_first_of("+@")), folder);
    if (base && std::find(ids.begin(), ids.end(), base->id) == ids.end()) ids.push_back(base->id);
  }
  const YamlValue* method = recipe.find("merge_method");
  facts.add("merge_method", method != nullptr && method->is_string() ? method->text : "unknown", kSource);
  facts.add_list("base_model", ids, kSource);
}

}  // namespace mu
