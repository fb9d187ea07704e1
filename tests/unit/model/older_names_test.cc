// SPDX-License-Identifier: Apache-2.0
#include "model/older_names.h"

#include <doctest/doctest.h>

using mu::without_older_name;

TEST_CASE("older names become today's, others stay") {
  CHECK(without_older_name("bert.embeddings.LayerNorm.gamma") == "bert.embeddings.LayerNorm.weight");
  CHECK(without_older_name("LayerNorm.beta") == "LayerNorm.bias");
  CHECK(without_older_name("conv.weight_g") == "conv.parametrizations.weight.original0");
  CHECK(without_older_name("conv.weight_v") == "conv.parametrizations.weight.original1");
  for (const char* name : {"LayerNorm.weight", "LayerNorm.gammas", "conv.weight_gate", "norm.gamma", ""})
    CHECK(without_older_name(name) == name);
}
