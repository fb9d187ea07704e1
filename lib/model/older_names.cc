// SPDX-License-Identifier: Apache-2.0
#include "model/older_names.h"

#include <algorithm>
#include <array>
#include <utility>

namespace mu {
namespace {

using Pair = std::pair<std::string_view, std::string_view>;

constexpr std::array<Pair, 4> kOlder = {Pair{"LayerNorm.gamma", "LayerNorm.weight"},
                                        {"LayerNorm.beta", "LayerNorm.bias"},
                                        {".weight_g", ".parametrizations.weight.original0"},
                                        {".weight_v", ".parametrizations.weight.original1"}};

bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

}  // namespace

std::string without_older_name(std::string_view name) {
  std::string result(name);
  for (const auto& [older, today] : kOlder) {
    const std::size_t at = result.find(older);
    if (at == std::string::npos) continue;
    const std::size_t end = at + older.size();
    if (end == result.size() || !is_word(result[end])) result.replace(at, older.size(), today);
  }
  return result;
}

}  // namespace mu
