// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/bitsandbytes.h"

#include <cmath>

#include "weights/quant/fixture.h"

using namespace mu;
using namespace mu::testing;
using namespace std::literals;

namespace {

std::string float_bytes(std::initializer_list<float> values) {
  std::string bytes;
  for (const float value : values) bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  return bytes;
}

const std::string kNf4 =
    float_bytes({-1.0F, -0.696192801F, -0.525073051F, -0.394917488F, -0.284441382F, -0.18477343F,
                 -0.0910500363F, 0.0F, 0.0795802996F, 0.160930201F, 0.246112302F, 0.337915242F, 0.440709829F,
                 0.562617004F, 0.722956836F, 1.0F});

// A file of tensors one after the other.
struct File {
  std::string tensors{}, data{};

  File& add(std::string_view name, std::string_view dtype, std::string_view shape, std::string_view bytes) {
    tensors +=
        fmt::format(R"({}"{}":{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})",
                    tensors.empty() ? "" : ",", name, dtype, shape, data.size(), data.size() + bytes.size());
    data += bytes;
    return *this;
  }
  File& add_json(std::string_view json, std::string_view type = "nf4") {
    return add(fmt::format("x.weight.quant_state.bitsandbytes__{}", type), "U8",
               fmt::format("[{}]", json.size()), json);
  }
  [[nodiscard]] QuantModel model() const { return {tensors, data}; }
};

constexpr std::string_view kState = R"({"quant_type":"nf4","blocksize":64,"dtype":"float32","shape":[2,33]})";

// 66 values in 33 bytes of A3: two blocks, of which the second has two values.
File plain_file(std::string_view json = kState) {
  File file;
  return file.add("x.weight", "U8", "[33,1]", std::string(33, '\xa3'))
      .add("x.weight.absmax", "F32", "[2]", float_bytes({2, 4}))
      .add("x.weight.quant_map", "F32", "[16]", kNf4)
      .add_json(json);
}

constexpr std::string_view kNestedState =
    R"({"quant_type":"nf4","blocksize":32,"dtype":"float32","shape":[66],"nested_blocksize":32,"nested_dtype":"float32","nested_offset":0.5})";

File nested_file(std::string_view json = kNestedState) {
  std::string map(256 * 4, '\0');
  map.replace(4 * 7, 4, float_bytes({3}));
  File file;
  return file.add("x.weight", "U8", "[33,1]", std::string(33, '\xa3'))
      .add("x.weight.absmax", "U8", "[3]", "\x00\x07\x07"sv)
      .add("x.weight.quant_map", "F32", "[16]", kNf4)
      .add("x.weight.nested_absmax", "F32", "[1]", float_bytes({2}))
      .add("x.weight.nested_quant_map", "F32", "[256]", map)
      .add_json(json);
}

std::optional<ErrorKind> kind(const File& file) {
  const QuantModel model = file.model();
  return error_of([&] { plain_bitsandbytes(model.stored("x"), model.context()); });
}

std::vector<float> plain(const File& file) {
  const QuantModel model = file.model();
  return model.floats(plain_bitsandbytes(model.stored("x"), model.context(Dtype::kF32)));
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string result(text);
  const std::size_t at = result.find(from);
  REQUIRE(at != std::string::npos);
  return result.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("bitsandbytes: a model with nested scales has the bytes of the reference, in any stretches") {
  // For down_proj, whose rows don't end with a block, plain.json has what the library's generic kernel gives
  // (backends/default/ops.py): the native one of 0.50.2 for CPUs takes the scales of other blocks there.
  const QuantModel model("bnb-nf4");
  model.check_fixture(plain_bitsandbytes);
  const PlainWeight weight =
      plain_bitsandbytes(model.stored("model.layers.0.mlp.down_proj"), model.context());
  CHECK(weight.shape == std::vector<std::uint64_t>{64, 96});
  model.check_stretches(weight);
}

TEST_CASE("bitsandbytes: 8 bits") {
  QuantModel("bnb-int8").check_fixture(plain_bitsandbytes);
}

TEST_CASE("bitsandbytes: the high nibble comes first, blocks go on across rows, the last may be short") {
  const std::vector<float> values = plain(plain_file());
  REQUIRE(values.size() == 66);
  CHECK(values[0] == 0.246112302F * 2);
  CHECK(values[1] == -0.394917488F * 2);
  CHECK(values[63] == -0.394917488F * 2);
  CHECK(values[64] == 0.246112302F * 4);
  // Of an odd number of values, the last nibble is none.
  const std::vector<float> odd = plain(plain_file(replaced(kState, "[2,33]", "[5,13]")));
  REQUIRE(odd.size() == 65);
  CHECK(odd[64] == 0.246112302F * 4);
}

TEST_CASE("bitsandbytes: nested scales have an offset") {
  const std::vector<float> values = plain(nested_file());
  CHECK(values[0] == 0.246112302F * 0.5F);
  CHECK(values[32] == 0.246112302F * 6.5F);
}

TEST_CASE("bitsandbytes: values are rounded to the type of the quant_state before that which is wanted") {
  const std::vector<float> values = plain(plain_file(replaced(kState, "float32", "bfloat16")));
  CHECK(values[0] == 0.4921875F);
  CHECK(plain(plain_file(replaced(kState, "float32", "float16")))[0] == 0.4921875F);
}

TEST_CASE("bitsandbytes: fp4, by the quant_map of the file") {
  File file;
  file.add("x.weight", "U8", "[16,1]", std::string(16, '\x8b'))
      .add("x.weight.absmax", "F32", "[1]", float_bytes({3}))
      .add("x.weight.quant_map", "F32", "[16]",
           float_bytes({0, 0.00520833349F, 0.666666687F, 1, 0.333333343F, 0.5F, 0.166666672F, 0.25F, 0,
                        -0.00520833349F, -0.666666687F, -1, -0.333333343F, -0.5F, -0.166666672F, -0.25F}))
      .add_json(R"({"quant_type":"fp4","blocksize":64,"dtype":"float32","shape":[32]})", "fp4");
  const std::vector<float> values = plain(file);
  CHECK(values[0] == 0);
  CHECK_FALSE(std::signbit(values[0]));
  CHECK(values[1] == -3);
}

TEST_CASE("bitsandbytes: bytes are stored in elements of any type") {
  for (const auto& [dtype, count] : {std::pair{"BF16", 17}, std::pair{"F32", 9}}) {
    File file;
    file.add("x.weight", dtype, fmt::format("[{},1]", count),
             std::string(dtype == "BF16"sv ? 34 : 36, '\xa3'))
        .add("x.weight.absmax", "F32", "[2]", float_bytes({2, 4}))
        .add("x.weight.quant_map", "F32", "[16]", kNf4)
        .add_json(kState);
    CHECK(plain(file) == plain(plain_file()));
  }
}

TEST_CASE("bitsandbytes: a quant_state that is torn or that nothing can be is malformed") {
  CHECK_FALSE(kind(plain_file()));
  for (std::size_t cut = 0; cut < kState.size(); ++cut)
    CHECK(kind(plain_file(kState.substr(0, cut))) == ErrorKind::kMalformed);
  for (const auto& [from, to] : {std::pair{"64", "63"},
                                 {"64", "0"},
                                 {"64", "8192"},
                                 {"64", "-64"},
                                 {"64", "64.5"},
                                 {"64", "\"64\""},
                                 {"64", "null"},
                                 {"\"nf4\"", "\"fp4\""},
                                 {"\"nf4\"", "null"},
                                 {"float32", "float64"},
                                 {"float32", "torch.float32"},
                                 {"[2,33]", "[2,34]"},
                                 {"[2,33]", "[2,32]"},
                                 {"[2,33]", "[]"},
                                 {"[2,33]", "null"},
                                 {"[2,33]", "66"},
                                 {"[2,33]", "[-2,-33]"},
                                 {"[2,33]", "[2.0,33]"},
                                 {"[2,33]", "[4294967296,4294967296]"},
                                 {"[2,33]", "[18446744073709551615]"},
                                 {"[2,33]", "[2,33,1,1,1,1,1,1,1]"},
                                 {"{", "[{"}}) {
    const std::string changed = to;
    CAPTURE(changed);
    CHECK(kind(plain_file(replaced(kState, from, to))) == ErrorKind::kMalformed);
  }
  CHECK_FALSE(kind(nested_file()));
  for (const auto& [from, to] : {std::pair{"nested_blocksize\":32", "nested_blocksize\":0"},
                                 {"nested_blocksize", "blocks"},
                                 {"nested_dtype\":\"float32\"", "nested_dtype\":\"int8\""},
                                 {"nested_offset\":0.5", "nested_offset\":NaN"},
                                 {"nested_offset\":0.5", "nested_offset\":1e300"},
                                 {"nested_offset", "offset"}}) {
    const std::string changed = to;
    CAPTURE(changed);
    CHECK(kind(nested_file(replaced(kNestedState, from, to))) == ErrorKind::kMalformed);
  }
}

TEST_CASE("bitsandbytes: an error of the JSON names the tensor") {
  const QuantModel model = plain_file("\xff").model();
  try {
    plain_bitsandbytes(model.stored("x"), model.context());
    FAIL("made plain");
  } catch (const Error& error) {
    CHECK(std::string_view(error.what()) ==
          "the quant_state 'x.weight.quant_state.bitsandbytes__nf4': byte 0: not valid JSON: last read: "
          "'\\xff'");
  }
}

TEST_CASE("bitsandbytes: tensors that are missing, or have another type or size, are malformed") {
  const auto with = [](std::string_view name, std::string_view from, std::string_view to) {
    File file = plain_file();
    const std::size_t at = file.tensors.find(fmt::format(R"("{}")", name));
    const std::string tail = replaced(file.tensors.substr(at), from, to);
    file.tensors = file.tensors.substr(0, at) + tail;
    return file;
  };
  CHECK(kind(with("x.weight.absmax", "x.weight.absmax", "x.weight.absmin")) == ErrorKind::kMalformed);
  CHECK(kind(with("x.weight.quant_map", "quant_map", "map")) == ErrorKind::kMalformed);
  CHECK(kind(with("x.weight.quant_state.bitsandbytes__nf4", "nf4", "nf8")) == ErrorKind::kMalformed);
  CHECK(kind(with("x.weight.absmax", "F32\",\"shape\":[2]", "F64\",\"shape\":[1]")) == ErrorKind::kMalformed);
  CHECK(kind(with("x.weight.absmax", "F32\",\"shape\":[2]", "BF16\",\"shape\":[4]")) ==
        ErrorKind::kMalformed);
  CHECK(kind(with("x.weight.absmax", "F32\",\"shape\":[2]", "U8\",\"shape\":[8]")) == ErrorKind::kMalformed);
  CHECK(kind(with("x.weight.quant_map", "F32\",\"shape\":[16]", "F16\",\"shape\":[32]")) ==
        ErrorKind::kMalformed);
  CHECK(kind(nested_file(replaced(kNestedState, "\"blocksize\":32", "\"blocksize\":64"))) ==
        ErrorKind::kMalformed);
  File both = plain_file();
  both.add_json(kState, "fp4");
  CHECK(kind(both) == ErrorKind::kMalformed);
}
