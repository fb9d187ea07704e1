// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/ct_scaled.h"

#include <cmath>
#include <tuple>

#include "weights/quant/fixture.h"

using namespace mu;
using namespace mu::testing;
using namespace std::literals;

namespace {

using Method = decltype(plain_ct_float);

auto with(Method method, const CtArgs& args) {
  return [method, args](const StoredWeight& stored, const QuantContext& context) {
    return method(stored, context, args);
  };
}

// x.weight of two rows and four columns, and its companions from byte 8 on.
struct Companion {
  std::string_view name, dtype, shape;
  std::string data;
};
QuantModel model_of(std::string_view dtype, std::string_view values,
                    const std::vector<Companion>& companions) {
  std::string header =
      fmt::format(R"("x.weight":{{"dtype":"{}","shape":[2,4],"data_offsets":[0,8]}})", dtype);
  std::string data(values);
  for (const Companion& one : companions) {
    header += fmt::format(R"(,"x.{}":{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})", one.name,
                          one.dtype, one.shape, data.size(), data.size() + one.data.size());
    data += one.data;
  }
  return {header, data};
}

std::vector<float> plain(const QuantModel& model, Method method, const CtArgs& args) {
  return model.floats(method(model.stored("x"), model.context(Dtype::kF32), args));
}

std::optional<ErrorKind> kind(const QuantModel& model, Method method, const CtArgs& args) {
  return error_of([&] { method(model.stored("x"), model.context(), args); });
}

constexpr std::string_view kIntegers = "\x01\x02\x7f\x80\xff\x00\x03\x04"sv;  // 1 2 127 -128, -1 0 3 4
constexpr CtArgs kRows{.strategy = CtStrategy::kChannel};

}  // namespace

TEST_CASE("ct_scaled: fp8 by rows and by ragged blocks has the bytes of the reference") {
  QuantModel("ct-fp8-dynamic")
      .check_fixture(with(plain_ct_float, {.is_float = true, .strategy = CtStrategy::kChannel}));
  QuantModel("ct-fp8-block")
      .check_fixture(with(plain_ct_float, {.is_float = true,
                                           .strategy = CtStrategy::kBlock,
                                           .block_structure = std::array<std::uint64_t, 2>{128, 128}}));
}

TEST_CASE("ct_scaled: values are rounded to the type of the scales, also for a wider target") {
  // bf16 0x3DCD is 0.10009765625: 127 times it is 12.712…, which bf16 has as 12.6875.
  const QuantModel bf16 = model_of("I8", kIntegers, {{"weight_scale", "BF16", "[2,1]", "\xcd\x3d\x00\x40"s}});
  CHECK(plain(bf16, plain_ct_int, kRows) ==
        std::vector<float>{0.10009765625F, 0.2001953125F, 12.6875F, -12.8125F, -2, 0, 6, 8});
  const QuantModel f32 = model_of("I8", kIntegers, {{"weight_scale", "F32", "[1]", "\x00\x00\x00\x3f"s}});
  CHECK(plain(f32, plain_ct_int, {}) == std::vector<float>{0.5F, 1, 63.5F, -64, -0.5F, 0, 1.5F, 2});
}

TEST_CASE("ct_scaled: zero points are subtracted where the group is asymmetric") {
  const std::vector<Companion> companions = {
      {"weight_scale", "F16", "[2,2]", "\x00\x38\x00\x3c\x00\x40\x00\x44"s},
      {"weight_zero_point", "I8", "[2,2]", "\x01\xff\x00\x02"s}};
  const QuantModel model = model_of("I8", kIntegers, companions);
  CtArgs args{.strategy = CtStrategy::kGroup, .group_size = 2};
  CHECK(plain(model, plain_ct_int, args) == std::vector<float>{0.5F, 1, 127, -128, -2, 0, 12, 16});
  args.symmetric = false;
  CHECK(plain(model, plain_ct_int, args) == std::vector<float>{0, 0.5F, 128, -127, -2, 0, 4, 8});
}

TEST_CASE("ct_scaled: scales of mxfp8 are exponents, and values are rounded to bf16") {
  const QuantModel model = model_of("F8_E4M3", "\x38\x3c\xc0\x7e\x38\x38\x38\x38"sv,
                                    {{"weight_scale", "U8", "[2,2]", "\x80\x00\x7f\xff"s}});
  const CtArgs args{.is_float = true, .strategy = CtStrategy::kGroup, .group_size = 2};
  CHECK(plain(model, plain_ct_float, args) ==
        std::vector<float>{2, 3, -0x1p-126F, 448 * 0x1p-127F, 1, 1, HUGE_VALF, HUGE_VALF});
}

TEST_CASE("ct_scaled: what doesn't fit is malformed, what isn't known refused") {
  const std::string two = "\x00\x3c\x00\x3c"s;
  const auto scales = [&](std::string_view shape, std::string_view data) {
    return model_of("I8", kIntegers, {{"weight_scale", "BF16", shape, std::string(data)}});
  };
  const CtArgs groups{.strategy = CtStrategy::kGroup, .group_size = 2};
  CHECK_FALSE(kind(scales("[2,1]", two), plain_ct_int, kRows));
  CHECK(kind(scales("[2]", two), plain_ct_int, kRows) == ErrorKind::kMalformed);
  CHECK(kind(scales("[1,2]", two), plain_ct_int, kRows) == ErrorKind::kMalformed);
  CHECK(kind(scales("[2]", two), plain_ct_int, {}) == ErrorKind::kMalformed);
  CHECK(kind(scales("[2,1]", two), plain_ct_int, groups) == ErrorKind::kMalformed);
  CHECK(kind(scales("[2,1]", two), plain_ct_int, {.strategy = CtStrategy::kGroup, .group_size = 3}) ==
        ErrorKind::kMalformed);
  CHECK(kind(scales("[2,1]", two), plain_ct_int, {.strategy = CtStrategy::kBlock}) == ErrorKind::kMalformed);
  CHECK(kind(scales("[2,1]", two), plain_ct_float, kRows) == ErrorKind::kMalformed);
  CHECK(kind(model_of("I8", kIntegers, {}), plain_ct_int, kRows) == ErrorKind::kMalformed);
  CHECK(kind(model_of("I8", kIntegers, {{"weight_scale_inv", "BF16", "[2,1]", two}}), plain_ct_int, kRows) ==
        ErrorKind::kRefused);
  CHECK(kind(model_of("I8", kIntegers,
                      {{"weight_scale", "BF16", "[2,1]", two}, {"weight_scale_inv", "BF16", "[2,1]", two}}),
             plain_ct_int, kRows) == ErrorKind::kMalformed);
  CtArgs asymmetric = kRows;
  asymmetric.symmetric = false;
  CHECK(kind(scales("[2,1]", two), plain_ct_int, asymmetric) == ErrorKind::kMalformed);
  for (const auto& [dtype, shape, data] : {std::tuple("I8", "[2]", "\1\1"s), std::tuple("I8", "[1,1]", "\1"s),
                                           std::tuple("BF16", "[2,1]", "\1\1\1\1"s)}) {
    CHECK(kind(model_of("I8", kIntegers,
                        {{"weight_scale", "BF16", "[2,1]", two}, {"weight_zero_point", dtype, shape, data}}),
               plain_ct_int, asymmetric) == ErrorKind::kMalformed);
  }
  CHECK(kind(model_of("I8", kIntegers,
                      {{"weight_scale", "BF16", "[2,1]", two}, {"weight_g_idx", "I8", "[4]", two}}),
             plain_ct_int, kRows) == ErrorKind::kRefused);
}
