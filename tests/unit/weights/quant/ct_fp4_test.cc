// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/ct_fp4.h"

#include <cmath>

#include "weights/quant/fixture.h"

using namespace mu;
using namespace mu::testing;
using namespace std::literals;

namespace {

constexpr CtArgs kNvfp4{
    .num_bits = 4, .is_float = true, .strategy = CtStrategy::kTensorGroup, .group_size = 16};
constexpr CtArgs kMxfp4{.num_bits = 4, .is_float = true, .strategy = CtStrategy::kGroup, .group_size = 32};

using Make = PlainWeight(const StoredWeight&, const QuantContext&, const CtArgs&);

// One row of 32 columns: bytes A3, scales, and a global scale of 4.
QuantModel row(std::string_view scales = R"("dtype":"F8_E4M3","shape":[1,2])",
               std::string_view bytes = "\x38\x40"sv,
               std::string_view global = R"("dtype":"F32","shape":[1])",
               std::string_view packed = R"("dtype":"U8","shape":[1,16])") {
  return {
      fmt::format(
          R"("x.weight_packed":{{{},"data_offsets":[0,16]}},"x.weight_scale":{{{},"data_offsets":[16,{}]}},"x.weight_global_scale":{{{},"data_offsets":[{},{}]}})",
          packed, scales, 16 + bytes.size(), global, 16 + bytes.size(), 20 + bytes.size()),
      std::string(16, '\xa3') + std::string(bytes) + "\0\0\x80\x40"s};
}

std::optional<ErrorKind> kind(Make* make, const QuantModel& model, const CtArgs& args) {
  return error_of([&] { make(model.stored("x", ".weight_packed"), model.context(), args); });
}

}  // namespace

TEST_CASE("compressed-tensors' fp4: models have the bytes of the reference, in any stretches") {
  struct Row {
    std::string name;
    Make* make;
    CtArgs args;
  };
  for (const Row& row : {Row{"ct-nvfp4", plain_ct_nvfp4, kNvfp4}, Row{"ct-mxfp4", plain_ct_mxfp4, kMxfp4}}) {
    CAPTURE(row.name);
    const QuantModel model(row.name);
    const auto with_args = [&row](const StoredWeight& stored, const QuantContext& context) {
      return row.make(stored, context, row.args);
    };
    model.check_fixture(with_args, ".weight_packed");
    const PlainWeight weight =
        with_args(model.stored("model.layers.0.mlp.down_proj", ".weight_packed"), model.context());
    CHECK(weight.shape == std::vector<std::uint64_t>{64, 96});
    CHECK(model.bytes(weight, Dtype::kBF16, 7) == model.bytes(weight, Dtype::kBF16, 1U << 20));
  }
}

TEST_CASE("compressed-tensors' fp4: nvfp4 divides its scales, and rounds to bf16 whatever is wanted") {
  const QuantModel model = row();
  const std::vector<float> values =
      model.floats(plain_ct_nvfp4(model.stored("x", ".weight_packed"), model.context(Dtype::kF32), kNvfp4));
  REQUIRE(values.size() == 32);
  CHECK(std::vector<float>(values.begin() + 14, values.begin() + 18) ==
        std::vector<float>{0.375F, -0.25F, 0.75F, -0.5F});
  // 1.5 * (1.125 / 3) has nine significant bits.
  const QuantModel thirds = row(R"("dtype":"F8_E4M3","shape":[1,2])", "\x39\x39"sv);
  CHECK(std::fmod(model.floats(plain_ct_nvfp4(thirds.stored("x", ".weight_packed"),
                                              thirds.context(Dtype::kF32), kNvfp4))[0],
                  0x1p-9F) == 0);
}

TEST_CASE("compressed-tensors' fp4: mxfp4 at the ends of its exponents") {
  const auto first = [](std::string_view scale) {
    const QuantModel model = row(R"("dtype":"U8","shape":[1,1])", scale);
    return model.floats(
        plain_ct_mxfp4(model.stored("x", ".weight_packed"), model.context(Dtype::kF32), kMxfp4))[0];
  };
  CHECK(first("\x7f") == 1.5F);
  CHECK(first("\x00"sv) == 0x1.8p-127F);
  CHECK(first("\xfe") == 0x1.8p127F);
  CHECK(first("\xff") == HUGE_VALF);
}

TEST_CASE("compressed-tensors' fp4: what doesn't fit is malformed, what is not known is refused") {
  CHECK_FALSE(kind(plain_ct_nvfp4, row(), kNvfp4));
  const QuantModel exponent = row(R"("dtype":"U8","shape":[1,1])", "\x7f");
  CHECK_FALSE(kind(plain_ct_mxfp4, exponent, kMxfp4));
  CHECK(kind(plain_ct_nvfp4, exponent, kNvfp4) == ErrorKind::kMalformed);
  CHECK(kind(plain_ct_mxfp4, row(), kMxfp4) == ErrorKind::kMalformed);
  CHECK(kind(plain_ct_nvfp4, row(R"("dtype":"F8_E4M3","shape":[2,1])"), kNvfp4) == ErrorKind::kMalformed);
  CHECK(kind(plain_ct_nvfp4, row(R"("dtype":"F8_E4M3","shape":[2])"), kNvfp4) == ErrorKind::kMalformed);
  CHECK(kind(plain_ct_nvfp4,
             row(R"("dtype":"F8_E4M3","shape":[1,2])", "\x38\x40"sv, R"("dtype":"BF16","shape":[2])"),
             kNvfp4) == ErrorKind::kMalformed);
  CHECK(kind(plain_ct_nvfp4,
             row(R"("dtype":"F8_E4M3","shape":[1,2])", "\x38\x40"sv, R"("dtype":"F32","shape":[1])",
                 R"("dtype":"U8","shape":[2,8])"),
             kNvfp4) == ErrorKind::kMalformed);
  CHECK(kind(plain_ct_nvfp4,
             row(R"("dtype":"F8_E4M3","shape":[1,2])", "\x38\x40"sv, R"("dtype":"F32","shape":[1])",
                 R"("dtype":"U8","shape":[16])"),
             kNvfp4) == ErrorKind::kMalformed);
  CtArgs args = kNvfp4;
  args.group_size = 0;
  CHECK(kind(plain_ct_nvfp4, row(), args) == ErrorKind::kMalformed);
  args = kNvfp4;
  args.is_float = false;
  CHECK(kind(plain_ct_nvfp4, row(), args) == ErrorKind::kMalformed);
  args = kNvfp4;
  args.symmetric = false;
  CHECK(kind(plain_ct_nvfp4, row(), args) == ErrorKind::kRefused);
}
