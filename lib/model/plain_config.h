// SPDX-License-Identifier: Apache-2.0
// What configs say about a quantised model that is to be made plain, and what they say afterwards.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/json.h"
#include "model/config.h"
#include "model/input.h"
#include "tensor/dtype.h"

namespace mu {

// The type that plain weights get unless another is asked for: the config's, else bf16.
Dtype stated_plain_dtype(const Input& input);

// quantization_config goes wherever it stands, and the dtype is set: where one stood, else at the top. diffusers'
// classes, which take no argument of that name, don't get one.
std::vector<ConfigEdit> plain_config_edits(const JsonValue& root, Dtype dtype);

// The modules that settings of a quantisation say to leave plain: by their names, or by parts of their paths.
class LeftAlone {
 public:
  explicit LeftAlone(const JsonValue& settings);
  [[nodiscard]] bool contains(std::string_view module) const;

 private:
  std::unordered_set<std::string> names_;
};

}  // namespace mu
