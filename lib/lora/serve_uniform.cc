// SPDX-License-Identifier: Apache-2.0
// SGLang 0.5.23 finds the layer of a module by the "layers.N." in its name, whichever model it is of, and passes over
// what has none. It puts q, k and v below each other, gate and up, and the first projections of latent attention: k or v
// without q are dropped, q without v is an error. Its scale is lora_alpha / r for all (lora.py, lora_config.py).
#include "lora/serve_uniform.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

using Group = std::vector<std::string_view>;

const std::array<Group, 3>& groups() {
  static const std::array<Group, 3> all = {Group{"q_proj", "k_proj", "v_proj"}, Group{"gate_proj", "up_proj"},
                                           Group{"q_a_proj", "kv_a_proj_with_mqa"}};
  return all;
}

// Whether a component "layers" has a number after it.
bool has_layer(std::string_view module) {
  const std::vector<std::string_view> parts = split(module, '.');
  for (std::size_t i = 0; i + 2 < parts.size(); ++i) {
    if (parts[i].ends_with("layers") && is_digits(parts[i + 1])) return true;
  }
  return false;
}

void refuse_unseen(const ServedPair& pair, const ServedBase& base) {
  const ServedTensor* const tensor = base.tensor(pair.module + ".weight");
  const std::string& memory = tensor == nullptr ? pair.module : tensor->memory;
  if (!base.is_of_language_model(memory))
    throw not_served(escape_name(pair.module) + ": SGLang applies only modules of the language model");
  const bool is_named = pair.module.find("embed_tokens") != std::string::npos ||
                        pair.module.find("lm_head") != std::string::npos;
  if (!is_named && !has_layer(pair.module))
    throw not_served(escape_name(pair.module) + ": SGLang applies only layers, embed_tokens and lm_head");
}

void add_partners(std::vector<ServedPair>& pairs, const ServedBase& base, std::uint64_t& zeros) {
  std::set<std::string> modules;
  for (const ServedPair& pair : pairs) modules.insert(pair.module);
  const std::size_t count = pairs.size();
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t dot = pairs[i].module.rfind('.') + 1;
    const std::string before = pairs[i].module.substr(0, dot), leaf = pairs[i].module.substr(dot);
    for (const Group& group : groups()) {
      if (std::find(group.begin(), group.end(), leaf) == group.end()) continue;
      for (const std::string_view other : group) {
        const std::string module = before + std::string(other);
        if (modules.contains(module)) continue;
        const ServedTensor* const tensor = base.tensor(module + ".weight");
        if (tensor == nullptr || tensor->shape.size() != 2) {
          if (leaf == "q_proj" && other == "v_proj")
            throw not_served(escape_name(pairs[i].module) +
                             ": SGLang wants v_proj beside it, which the base lacks");
          continue;
        }
        modules.insert(module);
        pairs.push_back({module, module, zero_pair(pairs[i].factors, tensor->shape[1], tensor->shape[0])});
        ++zeros;
      }
    }
  }
}

// The scale that most modules have; of several, the largest.
double common_scale(const std::vector<ServedPair>& pairs, bool use_rslora) {
  std::map<double, std::size_t> counts;
  for (const ServedPair& pair : pairs) {
    if (const double scale = pair.factors.scale(use_rslora); scale != 0) ++counts[scale];
  }
  const auto most = std::max_element(counts.begin(), counts.end(),
                                     [](const auto& a, const auto& b) { return a.second <= b.second; });
  return most == counts.end() ? 1 : most->first;
}

}  // namespace

void make_uniform(std::vector<ServedPair>& pairs, const LoraConfig& config, const ServedBase& base,
                  ServedForm& form) {
  for (const ServedPair& pair : pairs) refuse_unseen(pair, base);
  const double common = common_scale(pairs, config.use_rslora);
  std::uint64_t rank = 0;
  for (const ServedPair& pair : pairs) rank = std::max(rank, pair.factors.rank);
  for (ServedPair& pair : pairs) {
    const double scale = pair.factors.scale(config.use_rslora);
    if (std::abs(scale - common) > 1e-12 * std::abs(common)) {
      pair.factors.b = times(pair.factors.b, scale / common);
      ++form.scaled;
    }
    pair.factors = padded(pair.factors, rank);
    pair.factors.alpha = common * static_cast<double>(rank);
  }
  add_partners(pairs, base, form.zeros);
}

}  // namespace mu
