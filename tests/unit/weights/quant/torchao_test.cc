// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/torchao.h"

#include "weights/quant/fixture.h"

using namespace mu;
using namespace mu::testing;
using namespace std::literals;

namespace {

// A model with the values 1 2 127 -128, -1 0 3 4 as I8, and further tensors from byte 8 on.
QuantModel model_of(std::string_view description, std::string_view more, std::string_view data,
                    std::string_view key = "x.weight") {
  std::string text;
  for (const char c : description) text += c == '"' ? "\\\""s : std::string(1, c);
  return {
      fmt::format(
          R"("__metadata__":{{"{}":"{}"}},"x._weight_qdata":{{"dtype":"I8","shape":[2,4],"data_offsets":[0,8]}},{})",
          key, text, more),
      "\x01\x02\x7f\x80\xff\x00\x03\x04"s + std::string(data)};
}

std::string description(std::string_view type, std::string_view dtype, std::string_view block) {
  return fmt::format(
      R"({{"_type":"{}","_data":{{"block_size":{},"dtype":{{"_type":"torch.dtype","_data":"{}"}}}},"_tensor_data_names":["qdata","scale"]}})",
      type, block, dtype);
}

std::vector<float> plain(const QuantModel& model) {
  return model.floats(plain_torchao(model.stored("x", "._weight_qdata"), model.context(Dtype::kF32)));
}

std::optional<ErrorKind> kind(const QuantModel& model) {
  return error_of([&] { plain_torchao(model.stored("x", "._weight_qdata"), model.context()); });
}

constexpr std::string_view kRowScales =
    R"("x._weight_scale":{"dtype":"F32","shape":[2,1],"data_offsets":[8,16]})";
constexpr std::string_view kRowData = "\xcd\xcc\xcc\x3d\x00\x00\x00\x40"sv;  // 0.1, 2

}  // namespace

TEST_CASE("torchao: models have the bytes of the reference") {
  QuantModel("torchao-fp8").check_fixture(plain_torchao, "._weight_qdata");
  QuantModel("torchao-int8").check_fixture(plain_torchao, "._weight_qdata");
}

TEST_CASE("torchao: values are rounded to the type that the metadata say, also for a wider target") {
  const QuantModel bf16 = model_of(description("Int8Tensor", "bfloat16", "[1,4]"), kRowScales, kRowData);
  CHECK(plain(bf16) == std::vector<float>{0.10009765625F, 0.2001953125F, 12.6875F, -12.8125F, -2, 0, 6, 8});
  const QuantModel f32 = model_of(description("Int8Tensor", "float32", "[1,4]"), kRowScales, kRowData);
  CHECK(plain(f32)[2] == 127 * 0.1F);
}

TEST_CASE("torchao: groups of a few bits kept in I8, with zero points") {
  const QuantModel model = model_of(
      description("IntxUnpackedToInt8Tensor", "bfloat16", "[1,2]"),
      R"("x._weight_scale":{"dtype":"BF16","shape":[2,2],"data_offsets":[8,16]},"x._weight_zero_point":{"dtype":"I8","shape":[2,2],"data_offsets":[16,20]})",
      "\x00\x3f\x80\x3f\x00\x40\x80\x40\x01\xff\x00\x02"sv);
  CHECK(plain(model) == std::vector<float>{0, 0.5F, 128, -127, -2, 0, 4, 8});
}

TEST_CASE("torchao: other tensors are refused by name, what doesn't fit is malformed") {
  const auto with = [](std::string_view text) { return model_of(text, kRowScales, kRowData); };
  CHECK(kind(with(description("Int4Tensor", "bfloat16", "[1,4]"))) == ErrorKind::kRefused);
  CHECK(kind(with(description("Int8Tensor", "bfloat16", "[1,2]"))) == ErrorKind::kMalformed);
  CHECK(kind(with(description("Int8Tensor", "bfloat16", "[1,3]"))) == ErrorKind::kMalformed);
  CHECK(kind(with(description("Int8Tensor", "bfloat16", "[0,4]"))) == ErrorKind::kMalformed);
  CHECK(kind(with(description("Int8Tensor", "bfloat16", "[8]"))) == ErrorKind::kMalformed);
  CHECK(kind(with(description("Int8Tensor", "float64", "[1,4]"))) == ErrorKind::kMalformed);
  CHECK(kind(with(description("Float8Tensor", "bfloat16", "[1,4]"))) == ErrorKind::kMalformed);
  CHECK(kind(with("{")) == ErrorKind::kMalformed);
  CHECK(kind(with("{}")) == ErrorKind::kMalformed);
  CHECK(kind(with(R"({"_type":"Int8Tensor"})")) == ErrorKind::kMalformed);
  // Zero points that the metadata count, and that are not there.
  const std::string sound = description("Int8Tensor", "bfloat16", "[1,4]");
  CHECK(kind(with(sound)) == std::nullopt);
  CHECK(kind(with(std::string(sound).insert(sound.find("]}"), ",\"zero_point\""))) == ErrorKind::kMalformed);
  CHECK(kind(model_of(description("Int8Tensor", "bfloat16", "[1,4]"), kRowScales, kRowData, "y.weight")) ==
        ErrorKind::kMalformed);
  CHECK(kind(model_of(description("Int8Tensor", "bfloat16", "[1,4]"),
                      R"("x._weight_size":{"dtype":"F32","shape":[2,1],"data_offsets":[8,16]})", kRowData)) ==
        ErrorKind::kMalformed);
}
