// SPDX-License-Identifier: Apache-2.0
#include "model/families.h"

#include <doctest/doctest.h>

using namespace mu;

TEST_CASE("stacks of experts: hidden and intermediate size show how they are stored") {
  // Hidden size 32, intermediate size 48.
  CHECK(has_transposed_experts({4, 32, 96}, {4, 48, 32}, "gpt_oss"));
  CHECK_FALSE(has_transposed_experts({4, 96, 32}, {4, 32, 48}, "qwen3_moe"));
  // PEFT reads those of Llama 4 the other way round.
  CHECK_FALSE(has_transposed_experts({4, 32, 96}, {4, 48, 32}, "llama4_text"));
  // Square matrices: the first with hidden size 32 and intermediate size 16, the second with both sizes 32.
  CHECK(has_transposed_experts({4, 32, 32}, {4, 16, 32}, ""));
  CHECK_FALSE(has_transposed_experts({4, 32, 32}, {4, 32, 16}, ""));
  CHECK(has_transposed_experts({4, 32, 64}, {4, 32, 32}, ""));
  CHECK_FALSE(has_transposed_experts({4, 64, 32}, {4, 32, 32}, ""));
  CHECK_FALSE(has_transposed_experts({4, 32}, {4, 48, 32}, ""));
}
