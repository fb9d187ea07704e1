// SPDX-License-Identifier: Apache-2.0
// GPTQ and AWQ.
#include <doctest/doctest.h>

#include <array>
#include <random>

#include "weights/quant/awq.h"
#include "weights/quant/fixture.h"
#include "weights/quant/gptq.h"

using namespace mu;
using namespace mu::testing;
using namespace std::literals;

namespace {

// Words as a file has them.
std::string words(std::initializer_list<std::uint32_t> values) {
  std::string out;
  for (const std::uint32_t value : values) out.append(reinterpret_cast<const char*>(&value), sizeof(value));
  return out;
}

// A matrix of four bits with 16 inputs in two groups and 8 outputs, whose scales are 1 and 2.
struct Small {
  std::string codes = entry("x.qweight", "I32", "[2,8]", 0, 64);
  std::string zeros = entry("x.qzeros", "I32", "[2,1]", 64, 72);
  std::string scales = entry("x.scales", "F32", "[2,8]", 72, 136);
  std::string more{};
  std::string data;
  std::string settings = R"({"bits":4,"group_size":8})";

  // Of the outputs only the first has codes: 0 1 … 15.
  explicit Small(std::uint32_t zero_words = 0x77777777) {
    data = words({0x76543210, 0, 0, 0, 0, 0, 0, 0, 0xFEDCBA98, 0, 0, 0, 0, 0, 0, 0, zero_words, zero_words});
    for (const float scale : {1.0F, 2.0F}) {
      for (int i = 0; i < 8; ++i) data += words({std::bit_cast<std::uint32_t>(scale)});
    }
  }
  [[nodiscard]] QuantModel model() const {
    return QuantModel(codes + "," + zeros + "," + scales + more, data, settings);
  }
};

PlainWeight plain(const QuantModel& model, decltype(plain_gptq) method = plain_gptq) {
  return method(model.context(Dtype::kF32))(model.stored("x", ".qweight"));
}

std::vector<float> first_row(const Small& small) {
  const QuantModel model = small.model();
  std::vector<float> values = model.floats(plain(model));
  values.resize(16);
  return values;
}

template <typename Change>
std::optional<ErrorKind> changed(Change change) {
  Small small;
  change(small);
  const QuantModel model = small.model();
  return error_of([&] { plain(model); });
}

}  // namespace

TEST_CASE("gptq: the first version stores zero points less one, borrowed across a word") {
  const std::vector<float> values = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 2, 4, 6, 8, 10, 12, 14};
  CHECK(first_row(Small()) == values);
  Small second(0x88888888);
  second.settings = R"({"bits":4,"group_size":8,"checkpoint_format":"gptq_v2"})";
  CHECK(first_row(second) == values);
  second.settings = R"({"bits":4,"group_size":8,"checkpoint_format":"gptq"})";
  CHECK(first_row(second)[0] == -9);
  // 15 and 1 are 0, and the next one is one more.
  const QuantModel carried = Small(0x0000003F).model();
  const std::vector<float> all = carried.floats(plain(carried));
  CHECK(all[0] == 0);
  CHECK(all[16] == -5);
  CHECK(all[32] == -1);
}

TEST_CASE("gptq: inputs name their groups, and one group may be all") {
  Small small;
  small.more = "," + entry("x.g_idx", "I32", "[16]", 136, 200);
  for (std::uint32_t i = 0; i < 16; ++i) small.data += words({i % 2});
  CHECK(first_row(small) == std::vector<float>{-8, -14, -6, -10, -4, -6, -2, -2, 0, 2, 2, 6, 4, 10, 6, 14});
  small.data.replace(196, 4, words({2}));
  const QuantModel model = small.model();
  CHECK(error_of([&] { plain(model); }) == ErrorKind::kMalformed);
  Small one;
  one.settings = R"({"bits":4,"group_size":-1})";
  one.zeros = entry("x.qzeros", "I32", "[1,1]", 64, 68);
  one.scales = entry("x.scales", "F32", "[1,8]", 72, 104);
  one.more = "," + entry("a", "U8", "[4]", 68, 72) + "," + entry("b", "U8", "[32]", 104, 136);
  CHECK(first_row(one)[15] == 7);
}

TEST_CASE("gptq: dynamic says otherwise for some modules") {
  Small small;
  small.settings =
      R"({"bits":8,"group_size":128,"dynamic":{"-:y":{},"+:.*x$":{"bits":4,"group_size":8},"x":{"bits":2}}})";
  CHECK(first_row(small)[15] == 14);
  small.settings = R"({"bits":4,"group_size":8,"dynamic":{"-:x":{}}})";
  const QuantModel model = small.model();
  CHECK(error_of([&] { plain(model); }) == ErrorKind::kRefused);
}

TEST_CASE("gptq: stretches of many strips are those of the whole") {
  // 8 bits, 4096 inputs, 2500 outputs: 10 MiB.
  constexpr std::size_t kRows = 1024, kOutputs = 2500, kGroups = 2;
  std::mt19937 random(3);
  std::string codes(kRows * kOutputs * 4, '\0'), zeros(kGroups * kOutputs, '\0'), scales;
  for (char& c : codes) c = static_cast<char>(random());
  for (char& c : zeros) c = static_cast<char>(random());
  for (std::size_t i = 0; i < kGroups * kOutputs; ++i) scales += words({std::bit_cast<std::uint32_t>(1.0F)});
  const std::size_t a = codes.size(), b = a + zeros.size(), c = b + scales.size();
  const QuantModel model(
      entry("x.qweight", "I32", "[1024,2500]", 0, a) + "," + entry("x.qzeros", "I32", "[2,625]", a, b) + "," +
          entry("x.scales", "F32", "[2,2500]", b, c),
      codes + zeros + scales, R"({"bits":8,"group_size":2048,"checkpoint_format":"gptq_v2"})");
  const PlainWeight weight = plain(model);
  const std::string out = model.bytes(weight, Dtype::kF32, 300'001);
  std::size_t wrong = 0;
  for (std::size_t o = 0; o < kOutputs; ++o) {
    for (std::size_t i = 0; i < 4096; ++i) {
      const int code = static_cast<std::uint8_t>(codes[(i / 4 * kOutputs + o) * 4 + i % 4]);
      const int zero = static_cast<std::uint8_t>(zeros[i / 2048 * kOutputs + o]);
      float value = 0;
      std::memcpy(&value, out.data() + (o * 4096 + i) * 4, 4);
      wrong += value != static_cast<float>(code - zero) ? 1 : 0;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("gptq: other widths and forms are refused, tensors that don't fit are malformed") {
  CHECK(changed([](Small&) {}) == std::nullopt);
  for (const std::string_view settings :
       {R"({"bits":3})", R"({"bits":5})", R"({"bits":4,"checkpoint_format":"marlin"})",
        R"({"bits":4,"is_marlin_format":true})", R"({"bits":4,"format":"gptq_p"})",
        R"({"bits":4,"format":"gptq_v2","checkpoint_format":"gptq"})"})
    CHECK(changed([&](Small& s) { s.settings = settings; }) == ErrorKind::kRefused);
  CHECK(changed([](Small& s) { s.scales = entry("x.scales", "I32", "[2,8]", 72, 136); }) ==
        ErrorKind::kRefused);
  CHECK(changed([](Small& s) { s.settings = R"({"bits":"four"})"; }) == ErrorKind::kMalformed);
  CHECK(changed([](Small& s) { s.settings = R"({"bits":4,"group_size":16})"; }) == ErrorKind::kMalformed);
  CHECK(changed([](Small& s) { s.settings = R"({"bits":8,"group_size":8})"; }) == ErrorKind::kMalformed);
  CHECK(changed([](Small& s) { s.codes = entry("x.qweight", "I32", "[16]", 0, 64); }) ==
        ErrorKind::kMalformed);
  CHECK(changed([](Small& s) { s.codes = entry("x.qweight", "F32", "[2,8]", 0, 64); }) ==
        ErrorKind::kMalformed);
  CHECK(changed([](Small& s) { s.zeros = entry("x.qzeros", "I32", "[1,2]", 64, 72); }) ==
        ErrorKind::kMalformed);
  CHECK(changed([](Small& s) { s.zeros = entry("x.zeros", "I32", "[2,1]", 64, 72); }) ==
        ErrorKind::kMalformed);
  CHECK(changed([](Small& s) { s.scales = entry("x.scales", "F32", "[8,2]", 72, 136); }) ==
        ErrorKind::kMalformed);
  CHECK(changed([](Small& s) {
          s.more = "," + entry("x.g_idx", "I32", "[8]", 136, 168);
          s.data += std::string(32, '\0');
        }) == ErrorKind::kMalformed);
  CHECK(changed([](Small& s) {
          s.more = "," + entry("x.g_idx", "I32", "[16]", 136, 200);
          s.data += std::string(64, '\xff');
        }) == ErrorKind::kMalformed);
}

TEST_CASE(
    "awq: a model has the bytes of the reference, and the outputs of a word have an order of their own") {
  const QuantModel model("awq");
  const PlainOf make = plain_awq(model.context());
  model.check_fixture([&](const StoredWeight& stored, const QuantContext&) { return make(stored); },
                      ".qweight");
  for (const std::string_view has_zeros : {"true", "false"}) {  // kernels read them, whatever the config says
    const QuantModel word(
        entry("x.qweight", "I32", "[1,1]", 0, 4) + "," + entry("x.qzeros", "I32", "[1,1]", 4, 8) + "," +
            entry("x.scales", "F32", "[1,8]", 8, 40),
        words({0x76543210, 0, 0x3F800000, 0x3F800000, 0x3F800000, 0x3F800000, 0x3F800000, 0x3F800000,
               0x3F800000, 0x40000000}),
        fmt::format(R"({{"bits":4,"group_size":1,"zero_point":{},"version":"GEMM"}})", has_zeros));
    CHECK(word.floats(plain(word, plain_awq)) == std::vector<float>{0, 4, 1, 5, 2, 6, 3, 14});
  }
}

TEST_CASE("awq: without zero points, and what is refused or malformed") {
  const auto model = [](std::string_view settings, std::string_view shape = "[1,1]") {
    return QuantModel(entry("x.qweight", "I32", shape, 0, 4) + "," + entry("x.scales", "F16", "[1,8]", 4, 20),
                      words({0x76543210, 0x3C003C00, 0x3C003C00, 0x3C003C00, 0x3C003C00}), settings);
  };
  const QuantModel symmetric = model(R"({"bits":4,"group_size":-1,"zero_point":false})");
  CHECK(symmetric.floats(plain(symmetric, plain_awq)) == std::vector<float>{-8, -4, -7, -3, -6, -2, -5, -1});
  const auto kind = [](const QuantModel& made) { return error_of([&] { plain(made, plain_awq); }); };
  CHECK(kind(model(R"({"bits":4,"group_size":-1})")) == ErrorKind::kMalformed);  // no qzeros
  CHECK(kind(model(R"({"bits":4,"group_size":2,"zero_point":false})")) ==
        ErrorKind::kMalformed);  // half a group
  CHECK(kind(model(R"({"bits":4,"group_size":-1,"zero_point":false})", "[1]")) == ErrorKind::kMalformed);
  for (const std::string_view settings :
       {R"({"version":"gemv"})", R"({"version":"gemv_fast"})", R"({"format":"llm-awq"})",
        R"({"version":"gemm","backend":"llm-awq"})", R"({"bits":8})"})
    CHECK(kind(model(settings)) == ErrorKind::kRefused);
}
