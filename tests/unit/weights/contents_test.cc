// SPDX-License-Identifier: Apache-2.0
#include "weights/contents.h"

#include <doctest/doctest.h>

#include "testing.h"
#include "weights/open/open.h"

using namespace mu;
using namespace mu::testing;

TEST_CASE("contents: tensors are equal if type, shape and all bytes are") {
  const TempFolder folder;
  std::string file = safetensors(
      R"({"model.embed_tokens.weight":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"lm_head.weight":{"dtype":"U8","shape":[2,2],"data_offsets":[4,8]}})",
      8);
  put(folder / "f", file);
  const Weights weights = open_weights(folder / "f");
  CHECK_FALSE(equal_bytes(weights, weights.tensors[0], weights, weights.tensors[1]));
  CHECK(equal_bytes(weights, weights.tensors[0], weights, weights.tensors[0]));
  // Beyond one piece of reading, a difference in the very last byte.
  constexpr std::size_t kSize = (2U << 20) + 5;
  const std::string range = std::to_string(kSize);
  file = safetensors(R"({"a":{"dtype":"U8","shape":[)" + range + R"(],"data_offsets":[0,)" + range +
                         R"(]},"b":{"dtype":"U8","shape":[)" + range + R"(],"data_offsets":[)" + range + "," +
                         std::to_string(2 * kSize) + "]}}",
                     2 * kSize);
  for (const bool same : {true, false}) {
    if (!same) file.back() = 'x';
    put(folder / "g", file);
    const Weights large = open_weights(folder / "g");
    CHECK(equal_bytes(large, large.tensors[0], large, large.tensors[1]) == same);
    CHECK(equal_bytes(large, large.tensors[0], large, large.tensors[1], kSize - 1));
  }
}

TEST_CASE("contents: 0 and -0 are zero, in every type and every piece") {
  const TempFolder folder;
  const auto holds_zeros = [&](const std::string& dtype, const std::string& shape, const std::string& bytes) {
    const std::string entry = R"({"a":{"dtype":")" + dtype + R"(","shape":[)" + shape +
                              R"(],"data_offsets":[0,)" + std::to_string(bytes.size()) + "]}}";
    std::string file = safetensors(entry, bytes.size());
    file.replace(file.size() - bytes.size(), bytes.size(), bytes);
    put(folder / "f", file);
    const Weights weights = open_weights(folder / "f");
    return is_zero(weights, weights.tensors.front());
  };
  using namespace std::string_literals;
  CHECK(holds_zeros("F32", "0", ""));
  CHECK(holds_zeros("F32", "2", "\0\0\0\0\0\0\0\x80"s));
  CHECK_FALSE(holds_zeros("F32", "2", "\0\0\0\x80\1\0\0\0"s));
  CHECK(holds_zeros("BF16", "1", "\0\x80"s));
  CHECK_FALSE(holds_zeros("BF16", "1", "\x80\0"s));
  CHECK_FALSE(holds_zeros("I16", "1", "\0\x80"s));
  CHECK(holds_zeros("C64", "1", "\0\0\0\x80\0\0\0\x80"s));
  CHECK(holds_zeros("F8_E4M3", "1", "\x80"s));
  CHECK(holds_zeros("F4", "2", "\x88"s));
  CHECK_FALSE(holds_zeros("F6_E2M3", "4", "\0\0\1"s));
  std::string large((1U << 20) + 4, '\0');
  CHECK(holds_zeros("F32", std::to_string(large.size() / 4), large));
  large.back() = '\x41';
  CHECK_FALSE(holds_zeros("F32", std::to_string(large.size() / 4), large));
}
