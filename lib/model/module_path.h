// SPDX-License-Identifier: Apache-2.0
// Paths of modules and tensors: "model.layers.0.self_attn.q_proj".
#pragma once

#include <string_view>

namespace mu {

// "q_proj"
inline std::string_view last_component(std::string_view path) {
  return path.substr(path.rfind('.') + 1);
}

// Whether the last components of a path are `end`, as PEFT compares targets: "attn.q_proj", not "q_proj" with "proj".
inline bool ends_in_path(std::string_view path, std::string_view end) {
  return path.ends_with(end) && (path.size() == end.size() || path[path.size() - end.size() - 1] == '.');
}

}  // namespace mu
