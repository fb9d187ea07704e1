// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/comfy.h"

#include "weights/quant/fixture.h"

using namespace mu;
using namespace mu::testing;
using namespace std::literals;

namespace {

QuantModel model_of(std::string_view dtype, std::string_view more, std::string_view data,
                    std::string_view layers = {}) {
  const std::string metadata =
      layers.empty()
          ? ""
          : fmt::format(R"("__metadata__":{{"_quantization_metadata":"{{\"layers\":{}}}"}},)", layers);
  return {fmt::format(R"({}"x.weight":{{"dtype":"{}","shape":[1,4],"data_offsets":[0,4]}}{})", metadata,
                      dtype, more),
          "\x38\x3c\xc0\x44"s + std::string(data)};
}

std::vector<float> plain(const QuantModel& model, Dtype target = Dtype::kF32) {
  return model.floats(plain_comfy(model.context(target))(model.stored("x")));
}

std::optional<ErrorKind> kind(const QuantModel& model) {
  return error_of([&] { plain_comfy(model.context())(model.stored("x")); });
}

constexpr std::string_view kOlder = R"(,"x.scale_weight":{"dtype":"F32","shape":[],"data_offsets":[4,8]})";
constexpr std::string_view kNewer = R"(,"x.weight_scale":{"dtype":"F32","shape":[1],"data_offsets":[4,8]})";
constexpr std::string_view kTenth = "\xcd\xcc\xcc\x3d"sv;  // 0.1

std::string said(std::string_view text) {
  return fmt::format(R"({},"x.comfy_quant":{{"dtype":"U8","shape":[{}],"data_offsets":[8,{}]}})", kNewer,
                     text.size(), 8 + text.size());
}

}  // namespace

TEST_CASE("comfy: the scale is rounded to the target first") {
  const QuantModel model = model_of("F8_E4M3", kOlder, kTenth);
  CHECK(plain(model) == std::vector<float>{0.1F, 1.5F * 0.1F, -2 * 0.1F, 3 * 0.1F});
  const float tenth = 0.10009765625F;  // bf16
  CHECK(plain(model, Dtype::kBF16) == std::vector<float>{tenth, 1.5F * tenth, -2 * tenth, 3 * tenth});
  CHECK(plain(model_of("F8_E5M2", kNewer, kTenth)) ==
        std::vector<float>{0.5F * 0.1F, 0.1F, -2 * 0.1F, 4 * 0.1F});
}

TEST_CASE("comfy: a weight without a scale is its numbers") {
  CHECK(plain(model_of("F8_E4M3", "", "")) == std::vector<float>{1, 1.5F, -2, 3});
}

TEST_CASE("comfy: the format in a tensor or in the metadata must be fp8 and true") {
  const std::string e4m3 = R"({"format":"float8_e4m3fn","full_precision_matrix_mult":true})";
  const std::string nvfp4 = R"({"format":"nvfp4"})";
  const std::string tenth(kTenth);
  CHECK_FALSE(kind(model_of("F8_E4M3", said(e4m3), tenth + e4m3)));
  CHECK(kind(model_of("F8_E5M2", said(e4m3), tenth + e4m3)) == ErrorKind::kMalformed);
  CHECK(kind(model_of("U8", said(nvfp4), tenth + nvfp4)) == ErrorKind::kRefused);
  CHECK(kind(model_of("F8_E4M3", said("{}"), tenth + "{}")) == ErrorKind::kMalformed);
  CHECK(kind(model_of("F8_E4M3", said("{"), tenth + "{")) == ErrorKind::kMalformed);
  CHECK_FALSE(kind(model_of("F8_E4M3", kNewer, tenth, R"({\"x\":{\"format\":\"float8_e4m3fn\"}})")));
  CHECK(kind(model_of("F8_E4M3", kNewer, tenth, R"({\"x\":{\"format\":\"mxfp8\"}})")) == ErrorKind::kRefused);
  CHECK(kind(model_of("F8_E4M3", kNewer, tenth, R"({\"x\":{}})")) == ErrorKind::kMalformed);
}

TEST_CASE("comfy: two scales, or more than one value, are malformed") {
  const std::string tenth(kTenth);
  CHECK(kind(model_of(
            "F8_E4M3",
            std::string(kOlder) + R"(,"x.weight_scale":{"dtype":"F32","shape":[],"data_offsets":[8,12]})",
            tenth + tenth)) == ErrorKind::kMalformed);
  CHECK(kind(model_of("F8_E4M3", R"(,"x.scale_weight":{"dtype":"F32","shape":[2],"data_offsets":[4,12]})",
                      tenth + tenth)) == ErrorKind::kMalformed);
  CHECK(kind(model_of("I8", kOlder, tenth)) == ErrorKind::kMalformed);
}
