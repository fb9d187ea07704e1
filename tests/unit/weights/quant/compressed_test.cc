// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/compressed.h"

#include "weights/quant/fixture.h"

using namespace mu;
using namespace mu::testing;
using namespace std::literals;

namespace {

std::string group(std::string_view weights, std::string_view targets = R"("Linear")",
                  std::string_view format = "pack-quantized") {
  return fmt::format(R"({{"targets":[{}],"weights":{{{}}},"format":"{}"}})", targets, weights, format);
}

std::string settings(std::string_view groups, std::string_view more = "") {
  return fmt::format(R"({{"quant_method":"compressed-tensors","config_groups":{{{}}}{}}})", groups, more);
}

constexpr std::string_view kFourBits = R"("num_bits":4,"type":"int","strategy":"group","group_size":8)";

// One row of -8 -7 … 7, in two groups with the scales 1 and 2.
struct Row {
  std::string packed = entry("x.weight_packed", "I32", "[1,2]", 0, 8);
  std::string scales = entry("x.weight_scale", "F32", "[1,2]", 8, 16);
  std::string shape = entry("x.weight_shape", "I64", "[2]", 16, 32);
  std::string more{};
  std::string data =
      "\x10\x32\x54\x76\x98\xba\xdc\xfe"s + "\0\0\x80\x3f\0\0\0\x40"s + "\1\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0"s;
  std::string config = settings("\"g\":" + group(kFourBits));

  [[nodiscard]] QuantModel model() const {
    return QuantModel(packed + "," + scales + "," + shape + more, data, config);
  }
};

PlainWeight plain(const QuantModel& model, Dtype target = Dtype::kF32) {
  return plain_compressed(model.context(target))(model.stored("x", ".weight_packed"));
}

std::optional<ErrorKind> kind(const Row& row) {
  const QuantModel model = row.model();
  return error_of([&] { plain(model); });
}

}  // namespace

TEST_CASE("compressed-tensors: a packed model with zero points has the bytes of the reference") {
  const QuantModel model("ct-int4-asym");
  const PlainOf make = plain_compressed(model.context());
  model.check_fixture([&](const StoredWeight& stored, const QuantContext&) { return make(stored); },
                      ".weight_packed");
  const StoredWeight stored = model.stored("model.layers.0.mlp.down_proj", ".weight_packed");
  const PlainWeight weight = make(stored);
  CHECK(weight.shape == std::vector<std::uint64_t>{64, 96});
  model.check_stretches(weight);
}

TEST_CASE("compressed-tensors: a row of four bits, and of columns that name their group") {
  Row row;
  CHECK(row.model().floats(plain(row.model())) ==
        std::vector<float>{-8, -7, -6, -5, -4, -3, -2, -1, 0, 2, 4, 6, 8, 10, 12, 14});
  // All even columns are in the second group.
  row.more = "," + entry("x.weight_g_idx", "I32", "[16]", 32, 96);
  for (int i = 0; i < 16; ++i) row.data += std::string(1, i % 2 == 0 ? '\1' : '\0') + "\0\0\0"s;
  CHECK(row.model().floats(plain(row.model())) ==
        std::vector<float>{-16, -7, -12, -5, -8, -3, -4, -1, 0, 1, 4, 3, 8, 5, 12, 7});
  // -1 anywhere says that it is not used.
  row.data.replace(92, 4, 4, '\xff');
  CHECK(row.model().floats(plain(row.model()))[0] == -8);
  row.data.replace(92, 4, "\2\0\0\0"s);
  CHECK(kind(row) == ErrorKind::kMalformed);
  row.data.replace(92, 4, "\xfe\xff\xff\xff"s);
  CHECK(kind(row) == ErrorKind::kMalformed);
}

TEST_CASE(
    "compressed-tensors: zero points are packed down the rows, and products rounded to the scales' type") {
  // Three bits, twelve rows of one column: the zero points of rows 10 and 11 are in the next word, or in both.
  std::string data(12 * 4, '\0'), expected;
  for (std::size_t i = 0; i < 12; ++i) data[i * 4] = static_cast<char>(i % 8);
  data +=
      "\x88\xc6\xfa\x88\x0d\0\0\0"s;  // 0 1 2 3 4 5 6 7 0 1 2 7, of which the low bit of the 11th is the top one
  for (std::size_t i = 0; i < 12; ++i) data += "\x80\x3f"s;
  data += "\x0c\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0"s;
  const QuantModel model(
      entry("x.weight_packed", "I32", "[12,1]", 0, 48) + "," +
          entry("x.weight_zero_point", "I32", "[2,1]", 48, 56) + "," +
          entry("x.weight_scale", "BF16", "[12,1]", 56, 80) + "," +
          entry("x.weight_shape", "I64", "[2]", 80, 96),
      data, settings("\"g\":" + group(R"("num_bits":3,"strategy":"channel","symmetric":false)")));
  const std::uint64_t word = 0x88FAC688U | std::uint64_t{0x0D} << 32;
  std::vector<float> values;
  for (unsigned i = 0; i < 12; ++i)
    values.push_back(static_cast<float>(i % 8) - static_cast<float>(word >> 3 * i & 7U));
  CHECK(model.floats(plain(model)) == values);
  // 255 · 1.0078125 has a bit more than bf16.
  const QuantModel rounded(
      entry("x.weight_packed", "I32", "[1,1]", 0, 4) + "," + entry("x.weight_scale", "BF16", "[1]", 4, 6) +
          "," + entry("x.weight_shape", "I64", "[2]", 8, 24) + "," + entry("pad", "U8", "[2]", 6, 8),
      "\xff\0\0\0\x81\x3f\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0"sv,
      settings("\"g\":" + group(R"("num_bits":8,"strategy":"tensor")")));
  CHECK(rounded.floats(plain(rounded)) == std::vector<float>{128});  // 127 · 1.0078125 = 127.99
}

TEST_CASE(
    "compressed-tensors: the first group whose targets name the module, and whose format its tensors have") {
  Row row;
  const std::string wrong = group(R"("num_bits":8)");
  const auto at_zero = [&] { return row.model().floats(plain(row.model()))[0]; };
  row.config = settings(R"("a":)" + group(R"("num_bits":8)", R"("re:y","y")") + R"(,"b":)" +
                        group(kFourBits, R"("re:[x]$")") + R"(,"c":)" + wrong);
  CHECK(at_zero() == -8);
  row.config = settings(R"("a":)" + wrong + R"(,"b":)" + group(kFourBits));
  CHECK(kind(row) == ErrorKind::kMalformed);  // 8 bits
  row.config = settings(R"("a":{"targets":["Linear"],"weights":null},"b":)" + group(kFourBits, R"("x")"));
  CHECK(at_zero() == -8);
  row.config = settings(R"("a":{"targets":["Linear"],"weights":{)" + std::string(kFourBits) + "}}",
                        R"(,"format":"mixed-precision")");
  CHECK(at_zero() == -8);
  row.config = settings(R"("a":)" + group(kFourBits, R"("re:.*z","Embedding")"));
  CHECK(kind(row) == ErrorKind::kRefused);
  row.config = settings(R"("a":)" + group(kFourBits), R"(,"ignore":["re:x"])");
  CHECK(kind(row) == ErrorKind::kRefused);
  row.config = settings(R"("a":)" + group(kFourBits), R"(,"ignore":["re:y","x.x"])");
  CHECK(at_zero() == -8);
}

TEST_CASE("compressed-tensors: one scale and one zero point, which is not packed") {
  Row row;
  row.scales = entry("x.weight_scale", "F32", "[1]", 12, 16) + "," + entry("pad", "U8", "[4]", 8, 12);
  row.more = "," + entry("x.weight_zero_point", "I8", "[1]", 32, 33);
  row.data += "\xfd";  // -3
  row.config = settings("\"g\":" + group(R"("num_bits":4,"strategy":"tensor","symmetric":false)"));
  CHECK(row.model().floats(plain(row.model())) ==
        std::vector<float>{-10, -8, -6, -4, -2, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20});
  row.more = "," + entry("x.weight_zero_point", "I8", "[]", 32, 33);
  CHECK(kind(row) == ErrorKind::kMalformed);
}

TEST_CASE("compressed-tensors: what can't be made plain is refused by name") {
  const auto refused = [](const std::string& config) {
    Row row;
    row.config = config;
    return kind(row) == ErrorKind::kRefused;
  };
  CHECK(refused(settings("\"g\":" + group(kFourBits, R"("Linear")", "marlin-24"))));
  CHECK(refused(settings("\"W4A16\":[\"Linear\"]")));
  CHECK(
      refused(settings("\"g\":" + group(kFourBits), R"(,"sparsity_config":{"format":"sparse-24-bitmask"})")));
  CHECK(refused(settings("\"g\":" + group(kFourBits), R"(,"transform_config":{"config_groups":{"R1":{}}})")));
  CHECK(refused(settings("\"g\":" + group(R"("num_bits":9)"))));
  CHECK(refused(settings("\"g\":" + group(R"("num_bits":4,"type":"float")"))));
  CHECK(refused(settings("\"g\":" + group(R"("strategy":"token")"))));
  CHECK(refused(settings("\"g\":" + group(kFourBits, R"("Linear")", "int-quantized"))));
  CHECK_FALSE(refused(settings("\"g\":" + group(kFourBits),
                               R"(,"transform_config":{},"sparsity_config":{"format":"dense"})")));
}

TEST_CASE("compressed-tensors: zero points beside a weight that has none by the config are refused") {
  Row row;
  row.more = "," + entry("x.weight_zero_point", "I32", "[1,2]", 32, 40);
  row.data += std::string(8, '\0');
  CHECK(kind(row) == ErrorKind::kRefused);
  row.config = settings("\"g\":" + group(std::string(kFourBits) + R"(,"symmetric":false)"));
  CHECK(row.model().floats(plain(row.model()))[0] == 0);
  row.more =
      "," + entry("x.weight_global_scale", "F32", "[1]", 32, 36) + "," + entry("pad", "U8", "[4]", 36, 40);
  row.config = Row().config;
  CHECK(kind(row) == ErrorKind::kRefused);
}

TEST_CASE("compressed-tensors: settings that make no sense are malformed") {
  for (const std::string_view config :
       {R"({})", R"({"config_groups":[]})", R"({"config_groups":{"g":{"weights":{"num_bits":-2}}}})",
        R"({"config_groups":{"g":{"targets":"Linear","weights":{}}}})",
        R"({"config_groups":{"g":{"targets":[1],"weights":{}}}})",
        R"({"config_groups":{"g":{"weights":{"type":"double"}}}})",
        R"({"config_groups":{"g":{"weights":{"strategy":"group"}}}})",
        R"({"config_groups":{"g":{"weights":{"group_size":0}}}})",
        R"({"config_groups":{"g":{"weights":{"group_size":1e3}}}})",
        R"({"config_groups":{"g":{"weights":{"strategy":"channel","group_size":8}}}})",
        R"({"config_groups":{"g":{"weights":{"strategy":"block","block_structure":[128]}}}})",
        R"({"config_groups":{"g":{"weights":{"strategy":"block","block_structure":"128xy"}}}})",
        R"({"config_groups":{"g":{"targets":["re:("],"weights":{}}}})"}) {
    CAPTURE(config);
    Row row;
    row.config = config;
    CHECK(kind(row) == ErrorKind::kMalformed);
  }
}

TEST_CASE("compressed-tensors: packed tensors that don't fit are malformed") {
  const auto changed = [](auto change) {
    Row row;
    change(row);
    return kind(row);
  };
  CHECK(changed([](Row&) {}) == std::nullopt);
  CHECK(changed([](Row& r) { r.data[24] = 17; }) == ErrorKind::kMalformed);  // more columns than are packed
  CHECK(changed([](Row& r) { r.data[24] = 8; }) == ErrorKind::kMalformed);   // fewer
  CHECK(changed([](Row& r) { r.data[16] = 2; }) == ErrorKind::kMalformed);   // rows
  CHECK(changed([](Row& r) { r.data.replace(24, 8, 8, '\xff'); }) == ErrorKind::kMalformed);
  CHECK(changed([](Row& r) { r.data.replace(24, 8, "\0\0\0\0\0\0\0\x40"s); }) == ErrorKind::kMalformed);
  CHECK(changed([](Row& r) { r.shape = entry("x.weight_shape", "I64", "[1,2]", 16, 32); }) ==
        ErrorKind::kMalformed);
  CHECK(changed([](Row& r) { r.shape = entry("x.weight_shape", "F64", "[2]", 16, 32); }) ==
        ErrorKind::kMalformed);
  CHECK(changed([](Row& r) { r.shape = entry("x.shape", "I64", "[2]", 16, 32); }) == ErrorKind::kMalformed);
  CHECK(changed([](Row& r) { r.packed = entry("x.weight_packed", "F32", "[1,2]", 0, 8); }) ==
        ErrorKind::kMalformed);
  CHECK(changed([](Row& r) { r.packed = entry("x.weight_packed", "I32", "[2]", 0, 8); }) ==
        ErrorKind::kMalformed);
  CHECK(changed([](Row& r) { r.scales = entry("x.weight_scale", "F32", "[2,1]", 8, 16); }) ==
        ErrorKind::kMalformed);
  CHECK(changed([](Row& r) { r.scales = entry("x.weight_scale", "F64", "[1]", 8, 16); }) ==
        ErrorKind::kRefused);
  CHECK(changed([](Row& r) { r.scales = entry("x.scale", "F32", "[1,2]", 8, 16); }) == ErrorKind::kMalformed);
  CHECK(changed([](Row& r) {
          r.config = settings("\"g\":" + group(std::string(kFourBits) + R"(,"symmetric":false)"));
        }) == ErrorKind::kMalformed);
  CHECK(changed([](Row& r) {
          r.config = settings("\"g\":" + group(R"("num_bits":4,"strategy":"group","group_size":7)"));
        }) == ErrorKind::kMalformed);
  CHECK(changed([](Row& r) {
          r.more = "," + entry("x.weight_g_idx", "I32", "[15]", 32, 92);
          r.data += std::string(60, '\0');
        }) == ErrorKind::kMalformed);
}
