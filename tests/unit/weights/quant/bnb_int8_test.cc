// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/bnb_int8.h"

#include "weights/quant/fixture.h"

using namespace mu;
using namespace mu::testing;
using namespace std::literals;

namespace {

constexpr std::string_view kWeight = R"("x.weight":{"dtype":"I8","shape":[2,2],"data_offsets":[0,4]},)";
constexpr std::string_view kRows = R"("x.SCB":{"dtype":"F32","shape":[2],"data_offsets":[4,12]})";
constexpr std::string_view kFormat = R"(,"x.weight_format":{"dtype":"U8","shape":[],"data_offsets":[12,13]})";
const std::string kData = "\x7f\x81\x65\x00\x00\x00\x80\x3f\xcd\xcc\xcc\x3d"s;  // 127 -127, 101 0; 1, 0.1

std::optional<ErrorKind> kind(const std::string& header, const std::string& data) {
  const QuantModel model(header, data);
  return error_of([&] { plain_bnb_int8(model.stored("x"), model.context()); });
}

}  // namespace

TEST_CASE("bnb_int8: a model has the bytes of the reference") {
  QuantModel("bnb-int8").check_fixture(plain_bnb_int8);
}

TEST_CASE("bnb_int8: the product with the row's largest magnitude is rounded before the one with 1/127") {
  for (const std::string_view format : {kFormat, ""sv}) {
    const QuantModel model(std::string(kWeight) + std::string(kRows) + std::string(format),
                           format.empty() ? kData : kData + "\0"s);
    CHECK(model.floats(plain_bnb_int8(model.stored("x"), model.context(Dtype::kF32))) ==
          std::vector<float>{1, -1, 0x1.45beb2p-4F, 0});
  }
}

TEST_CASE("bnb_int8: rows in another order are refused, what doesn't fit is malformed") {
  const std::string header = std::string(kWeight) + std::string(kRows);
  CHECK(kind(header + std::string(kFormat), kData + "\1") == ErrorKind::kRefused);
  CHECK(kind(std::string(kWeight) + R"("x.SCB":{"dtype":"F32","shape":[2,1],"data_offsets":[4,12]})",
             kData) == ErrorKind::kMalformed);
  CHECK(kind(std::string(kWeight) + R"("x.SCB":{"dtype":"F16","shape":[2],"data_offsets":[4,8]})",
             kData.substr(0, 8)) == ErrorKind::kMalformed);
  CHECK(kind(std::string(kWeight) + R"("x.SCA":{"dtype":"F32","shape":[2],"data_offsets":[4,12]})", kData) ==
        ErrorKind::kMalformed);
}
