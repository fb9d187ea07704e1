// SPDX-License-Identifier: Apache-2.0
#include "lora/served_names.h"

#include <algorithm>

namespace mu {

std::string escaped_for_python(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (std::string_view("\\^$|?*+()[]{}").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::vector<std::string> short_endings(const std::set<std::string>& parameters,
                                       const std::set<std::string>& all) {
  const auto ending = [](const std::string& name) {
    const std::size_t digit = name.find_last_of("0123456789");
    return digit == std::string::npos || digit + 2 > name.size() ? name : name.substr(digit + 2);
  };
  std::set<std::string> list;
  for (const std::string& parameter : parameters) {
    const bool is_enough = std::all_of(all.begin(), all.end(), [&](const std::string& other) {
      return !other.ends_with("." + ending(parameter)) || parameters.contains(other);
    });
    list.insert(is_enough ? ending(parameter) : parameter);
  }
  return {list.begin(), list.end()};
}

std::string name_for_peft(const TensorNames* names, const std::string& module) {
  constexpr std::string_view kWeight = ".weight", kFactor = ".lora_A.default.weight";
  if (names == nullptr) return module;
  const auto read = [&](const std::string& name) { return names->memory(name + std::string(kFactor)); };
  const std::string wanted = module + std::string(kFactor);
  if (read(module) == wanted) return module;
  std::string published = names->published(module + std::string(kWeight));
  if (!published.ends_with(kWeight)) return module;
  published.resize(published.size() - kWeight.size());
  return read(published) == wanted ? published : module;
}

}  // namespace mu
