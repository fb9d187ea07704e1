// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/fp8.h"

#include "weights/quant/fixture.h"

using namespace mu;
using namespace mu::testing;
using namespace std::literals;

namespace {

// fp8 1 1.5 -2 448, 0 2^-9 NaN -0
constexpr std::string_view kEight = "\x38\x3c\xc0\x7e\x00\x01\x7f\x80"sv;

std::vector<float> plain(const QuantModel& model, std::string_view weight = ".weight") {
  return model.floats(plain_fp8(model.stored("x", weight), model.context(Dtype::kF32)));
}

std::optional<ErrorKind> kind(const QuantModel& model) {
  return error_of([&] { plain_fp8(model.stored("x"), model.context()); });
}

std::string weight_of(std::string_view shape, std::string_view scales, std::string_view dtype = "F8_E4M3") {
  return fmt::format(R"("x.weight":{{"dtype":"{}","shape":{},"data_offsets":[0,8]}},{})", dtype, shape,
                     scales);
}

}  // namespace

TEST_CASE("fp8: a model with ragged blocks has the bytes of the reference") {
  const QuantModel model("fp8-block");
  model.check_fixture(plain_fp8);
  const PlainWeight weight = plain_fp8(model.stored("model.layers.0.mlp.down_proj"), model.context());
  CHECK(weight.shape == std::vector<std::uint64_t>{64, 160});
  model.check_stretches(weight);
}

TEST_CASE("fp8: one scale, E8M0, exponents in U8, a scale for each row") {
  const auto one = [](std::string_view dtype, std::string_view shape, std::size_t bytes) {
    return weight_of("[2,4]",
                     fmt::format(R"("x.weight_scale_inv":{{"dtype":"{}","shape":{},"data_offsets":[8,{}]}})",
                                 dtype, shape, 8 + bytes));
  };
  constexpr std::string_view kNull = R"({"weight_block_size":null})";
  const std::string data(kEight);
  const QuantModel scalar(one("F32", "[]", 4), data + "\0\0\0\x40"s, kNull);
  const std::vector<float> twice = plain(scalar);
  CHECK(std::vector<float>(twice.begin(), twice.begin() + 6) ==
        std::vector<float>{2, 3, -4, 896, 0, 0x1p-8F});
  CHECK(std::isnan(twice[6]));
  CHECK(std::bit_cast<std::uint32_t>(twice[7]) == 0x80000000U);
  const QuantModel bf16(one("BF16", "[1]", 2), data + "\0\x40"s);
  CHECK(plain(bf16)[1] == 3);
  const QuantModel e8m0(one("F8_E8M0", "[1,1]", 1), data + "\x80");
  CHECK(plain(e8m0)[1] == 3);
  const QuantModel exponents(one("U8", "[2,1]", 2), data + "\x80\xff", kNull);
  CHECK(plain(exponents)[1] == 3);
  CHECK(std::isnan(plain(exponents)[4]));  // 0 times infinity
  CHECK(plain(exponents)[5] == HUGE_VALF);
  const QuantModel smallest(one("U8", "[2,1]", 2), data + "\x00\x01"s, kNull);
  CHECK(plain(smallest)[1] == 0x1.8p-127F);
}

TEST_CASE("fp8: each expert has a grid of its own, and blocks are short at its end") {
  const QuantModel model(
      R"("x":{"dtype":"F8_E4M3","shape":[2,3,2],"data_offsets":[0,12]},"x_scale_inv":{"dtype":"F32","shape":[2,2,1],"data_offsets":[12,28]})",
      "\x38\x38\x38\x38\x38\x38\x38\x38\x38\x38\x38\x38\0\0\0\x40\0\0\x80\x40\0\0\0\x41\0\0\x80\x41"sv,
      R"({"weight_block_size":[2,2]})");
  CHECK(plain(model, "") == std::vector<float>{2, 2, 2, 2, 4, 4, 8, 8, 8, 8, 16, 16});
}

TEST_CASE("fp8: gate and up of experts may have blocks of their own") {
  const std::string eight(8, '\x38');
  const QuantModel model(
      R"("x.gate_up_proj":{"dtype":"F8_E4M3","shape":[1,8,1],"data_offsets":[0,8]},"x.gate_up_proj_scale_inv":{"dtype":"F32","shape":[1,4,1],"data_offsets":[8,24]})",
      eight + "\0\0\0\x40\0\0\x80\x40\0\0\0\x41\0\0\x80\x41"s, R"({"weight_block_size":[3,3]})");
  CHECK(model.floats(plain_fp8(model.stored("x", ".gate_up_proj"), model.context(Dtype::kF32))) ==
        std::vector<float>{2, 2, 2, 4, 8, 8, 8, 16});
  // As many either way: what the config says.
  const std::string ten(10, '\x38');
  const QuantModel as_said(
      R"("x.gate_up_proj":{"dtype":"F8_E4M3","shape":[1,10,1],"data_offsets":[0,10]},"x.gate_up_proj_scale_inv":{"dtype":"F32","shape":[1,4,1],"data_offsets":[10,26]})",
      ten + "\0\0\0\x40\0\0\x80\x40\0\0\0\x41\0\0\x80\x41"s, R"({"weight_block_size":[3,3]})");
  CHECK(as_said.floats(plain_fp8(as_said.stored("x", ".gate_up_proj"), as_said.context(Dtype::kF32))) ==
        std::vector<float>{2, 2, 2, 4, 4, 4, 8, 8, 8, 16});
}

TEST_CASE("fp8: pairs of E2M1 in I8 have a scale for 32 columns") {
  std::string data(32, '\xa3');  // 1.5, -1
  data += "\x80\x7e";            // 2, 0.5
  for (const std::string_view scales : {"x.scale", "x.qscale_weight", "x.weight_scale_inv"}) {
    const QuantModel model(
        fmt::format(
            R"("x.weight":{{"dtype":"I8","shape":[1,32],"data_offsets":[0,32]}},"{}":{{"dtype":"F8_E8M0","shape":[1,2],"data_offsets":[32,34]}})",
            scales),
        data, R"({"weight_block_size":[128,128]})");
    const std::vector<float> values = plain(model);
    REQUIRE(values.size() == 64);
    CHECK(std::vector<float>(values.begin() + 30, values.begin() + 34) ==
          std::vector<float>{3, -2, 0.75, -0.5});
  }
}

TEST_CASE("fp8: what doesn't fit is malformed") {
  const auto scales = [](std::string_view name, std::string_view dtype, std::string_view shape,
                         std::size_t bytes) {
    return weight_of("[2,4]", fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":[8,{}]}})", name,
                                          dtype, shape, 8 + bytes));
  };
  const std::string data = std::string(kEight) + std::string(16, '\x01');
  constexpr std::string_view kScale = "x.weight_scale_inv";
  CHECK_FALSE(kind({scales(kScale, "F32", "[1,1]", 4), data.substr(0, 12)}));
  CHECK(kind({scales(kScale, "F32", "[1,2]", 8), data.substr(0, 16), R"({"weight_block_size":[128,128]})"}) ==
        ErrorKind::kMalformed);
  CHECK(kind({scales(kScale, "F32", "[3,1]", 12), data.substr(0, 20), R"({"weight_block_size":null})"}) ==
        ErrorKind::kMalformed);
  CHECK(kind({scales(kScale, "I32", "[1,1]", 4), data.substr(0, 12)}) == ErrorKind::kMalformed);
  CHECK(kind({scales("x.size", "F32", "[1,1]", 4), data.substr(0, 12)}) == ErrorKind::kMalformed);
  CHECK(kind({scales("x.weight_scale", "F32", "[1,1]", 4), data.substr(0, 12)}) == ErrorKind::kRefused);
  CHECK(kind({scales(kScale, "F32", "[1,1]", 4), data.substr(0, 12), R"({"weight_block_size":[0,128]})"}) ==
        ErrorKind::kMalformed);
  CHECK(kind({weight_of("[8]", R"("x.weight_scale_inv":{"dtype":"F32","shape":[],"data_offsets":[8,12]})"),
              data.substr(0, 12)}) == ErrorKind::kMalformed);
  for (const std::string_view second : {"x.scale", "x.weight_scale"}) {
    CHECK(kind({scales(kScale, "F32", "[1,1]", 4) +
                    fmt::format(R"(,"{}":{{"dtype":"F32","shape":[1,1],"data_offsets":[12,16]}})", second),
                data.substr(0, 16)}) == ErrorKind::kMalformed);
  }
}
