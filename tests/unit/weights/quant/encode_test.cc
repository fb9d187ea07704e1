// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/encode_fp4.h"
#include "weights/quant/encode_fp8.h"

#include "os/threads.h"
#include "tensor/cast.h"
#include "weights/quant/fixture.h"

using namespace mu;
using namespace mu::testing;
using namespace std::literals;

namespace {

using Made = std::vector<Tensor>;

std::string bytes_of(const Weights& weights, const Tensor& tensor, std::uint64_t step = 1U << 20) {
  std::string out(static_cast<std::size_t>(tensor.size), '\0');
  const std::span<std::byte> all(reinterpret_cast<std::byte*>(out.data()), out.size());
  for (std::uint64_t at = 0; at < tensor.size; at += step)
    weights.read(tensor, at, all.subspan(at, std::min(step, tensor.size - at)));
  return out;
}

// A weight "x" of these values, in memory.
class Plain {
 public:
  Plain(Dtype dtype, std::uint64_t rows, std::uint64_t columns, const std::vector<float>& values)
      : model_(header(dtype, rows, columns), bytes(dtype, values)) {}

  [[nodiscard]] PlainModule module() const { return {"x", model_.weights().tensors.front(), error}; }
  std::string read(const Tensor& tensor, std::uint64_t step = 1U << 20) const {
    return bytes_of(model_.weights(), tensor, step);
  }
  [[nodiscard]] Made fp8(Fp8Scales scales) const {
    return encode_fp8(module(), scales, std::make_shared<MagnitudeCache>());
  }
  [[nodiscard]] Made nvfp4() const {
    const std::vector<PlainModule> set = {module()};
    return encode_nvfp4(set, 0, std::make_shared<SharedMagnitude>());
  }

  std::shared_ptr<QuantError> error{};

 private:
  static std::string header(Dtype dtype, std::uint64_t rows, std::uint64_t columns) {
    return fmt::format(R"("x.weight":{{"dtype":"{}","shape":[{},{}],"data_offsets":[0,{}]}})", name(dtype),
                       rows, columns, rows * columns * bits(dtype) / 8);
  }
  static std::string bytes(Dtype dtype, const std::vector<float>& values) {
    std::string out(values.size() * bits(dtype) / 8, '\0');
    CastReport unused;
    cast(Dtype::kF32, dtype, std::as_bytes(std::span(values)),
         std::span(reinterpret_cast<std::byte*>(out.data()), out.size()), unused);
    return out;
  }
  QuantModel model_;
};

// One group of `size` whose largest value is `largest`.
std::vector<float> group(float largest, std::size_t size = 32) {
  std::vector<float> values(size, 0.0F);
  values[size / 2] = -largest;
  return values;
}

int mx_byte(Dtype dtype, float largest) {
  const Plain plain(dtype, 1, 32, group(largest));
  return static_cast<unsigned char>(plain.read(encode_mxfp4(plain.module())[1])[0]);
}

}  // namespace

TEST_CASE("encode: fixtures have the bytes of llm-compressor, in stretches of any size") {
  using Encode = std::function<Made(std::span<const PlainModule>, std::size_t)>;
  const auto cache = std::make_shared<MagnitudeCache>();
  const Encode rows = [&](auto set, auto i) { return encode_fp8(set[i], Fp8Scales::kRows, cache); };
  const Encode blocks = [&](auto set, auto i) { return encode_fp8(set[i], Fp8Scales::kBlocks, cache); };
  const Encode mx = [](auto set, auto i) { return encode_mxfp4(set[i]); };
  const auto shared = std::make_shared<SharedMagnitude>();
  const Encode nv = [&](auto set, auto i) { return encode_nvfp4(set, i, shared); };
  const std::pair<std::string, Encode> fixtures[] = {
      {"ct-fp8-dynamic", rows}, {"ct-fp8-block", blocks}, {"ct-mxfp4", mx}, {"ct-nvfp4", nv}};
  for (const auto& [fixture, encode] : fixtures) {
    const std::string name = fixture;
    CAPTURE(name);
    const QuantModel model(name);
    const std::string base = name == "ct-fp8-block" ? "/../base-160.safetensors" : "/../base-96.safetensors";
    const Weights plain = open_weights(model.folder() + base);
    std::vector<PlainModule> set;
    for (const std::string projection : {"gate_proj", "up_proj"}) {
      const std::string module = "model.layers.0.mlp." + projection;
      set.push_back({module, *tensors_by_name(plain).at(module + ".weight")});
    }
    for (std::size_t i = 0; i < set.size(); ++i) {
      for (const Tensor& tensor : encode(set, i)) {
        CAPTURE(tensor.name);
        const Tensor& expected = *tensors_by_name(model.weights()).at(tensor.name);
        CHECK(tensor.dtype == expected.dtype);
        CHECK(tensor.shape == expected.shape);
        const std::string bytes = bytes_of(model.weights(), expected);
        CHECK((bytes_of(plain, tensor) == bytes));
        CHECK((bytes_of(plain, tensor, 37 * bits(tensor.dtype) / 8) == bytes));
      }
    }
  }
}

TEST_CASE("encode: fp8 rounds the quotient to the weight's type before it becomes fp8") {
  const Plain zero(Dtype::kBF16, 2, 2, {0, 0, 448, -1});
  const Made made = zero.fp8(Fp8Scales::kRows);
  CHECK(zero.read(made[0]) == "\0\0\x7e\xb8"s);
  CHECK(zero.read(made[1]) == "\0\x3c\x80\x3f"s);  // 2^-7 for a row of zeros, 1
  CHECK(made[1].shape == std::vector<std::uint64_t>{2, 1});
  // 7 / D(6.9375 / 448) is 451.6 in bf16, and is cut.
  const Plain half(Dtype::kF16, 1, 1, {6});
  CHECK(half.read(half.fp8(Fp8Scales::kRows)[0]) == "\x7e");
}

TEST_CASE("encode: fp8 in transformers' dialect stores the inverse of a rounded factor") {
  std::vector<float> values(128 * 256, 0.0F);
  values[130] = 3;
  const Plain plain(Dtype::kF32, 128, 256, values);
  const Made made = plain.fp8(Fp8Scales::kFactor);
  CHECK(made[1].name == "x.weight_scale_inv");
  CHECK(made[1].shape == std::vector<std::uint64_t>{1, 2});
  const std::string scales = plain.read(made[1]);
  const float factor = 448.0F * (1.0F / 3.0F);
  CHECK(load_le<float>(reinterpret_cast<const std::byte*>(scales.data())) == 1);  // of zeros
  CHECK(load_le<float>(reinterpret_cast<const std::byte*>(scales.data() + 4)) == 1.0F / factor);
  CHECK(plain.read(made[0])[130] == '\x7e');
  values[130] = 1e-37F;
  const Plain tiny(Dtype::kF32, 128, 256, values);
  CHECK(error_of([&] { tiny.read(tiny.fp8(Fp8Scales::kFactor)[1]); }) == ErrorKind::kRefused);
}

TEST_CASE("encode: exponents of MXFP4") {
  CHECK(mx_byte(Dtype::kBF16, 1.7421875F) == 125);
  CHECK(mx_byte(Dtype::kBF16, 1.75F) == 126);
  CHECK(mx_byte(Dtype::kBF16, 6) == 127);
  CHECK(mx_byte(Dtype::kF16, 7) == 128);
  CHECK(mx_byte(Dtype::kF32, 0) == 0);
  CHECK(mx_byte(Dtype::kF16, 0) == 127);
  CHECK(mx_byte(Dtype::kF16, 0x1p-24F) == 127);
  CHECK(mx_byte(Dtype::kBF16, 0x1p-130F) == 0);
  CHECK(error_of([] { mx_byte(Dtype::kF16, 57344); }) == ErrorKind::kRefused);
  CHECK(error_of([] { mx_byte(Dtype::kBF16, 0x1.cp127F); }) == ErrorKind::kRefused);
}

TEST_CASE("encode: E2M1 rounds to the even code and keeps the sign of what becomes 0") {
  std::vector<float> values = {0.25F, 0.26F, 0.75F, 1.25F, 1.75F, 2.5F, 3.5F, 5.0F, 5.1F, -0.1F, -0.0F, 6.0F};
  values.resize(32);
  const Plain plain(Dtype::kF32, 1, 32, values);
  const std::string codes = plain.read(encode_mxfp4(plain.module())[0]);
  CHECK(codes.substr(0, 6) == "\x10\x22\x44\x66\x87\x70"s);
}

TEST_CASE("encode: a group of zeros, and weights near nothing, in NVFP4") {
  const Plain zero(Dtype::kBF16, 1, 16, std::vector<float>(16, 0.0F));
  const Made made = zero.nvfp4();
  CHECK(zero.read(made[0]) == std::string(8, '\0'));
  CHECK(zero.read(made[1]) == "\x20");           // 0.125
  CHECK(zero.read(made[2]) == "\0\0\x80\x3f"s);  // 1: no scale fits
}

TEST_CASE("encode: the scale that a set of NVFP4 shares is rounded twice, as torch divides a number") {
  const Plain plain(Dtype::kBF16, 1, 16, group(1.0390625F, 16));
  CHECK(plain.read(plain.nvfp4()[2]) == "\0\0\x21\x45"s);  // 2576; 2688 / 1.0390625 is nearer to 2592
}

TEST_CASE("encode: NaN and infinity are found and named, whoever looks first") {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    const Plain plain(Dtype::kBF16, 1, 32, group(bad));
    for (const Made& made : {plain.fp8(Fp8Scales::kRows), plain.fp8(Fp8Scales::kFactor),
                             encode_mxfp4(plain.module()), plain.nvfp4()}) {
      for (const Tensor& tensor : made) {
        for (int again = 0; again < 2; ++again)
          CHECK(error_of([&] { plain.read(tensor); }) == ErrorKind::kMalformed);
      }
    }
  }
}

TEST_CASE("encode: the error of a module is known once all of it was read") {
  Plain plain(Dtype::kF32, 1, 32, group(6.0F * 1.01F));
  plain.error = std::make_shared<QuantError>(32);
  const Made made = encode_mxfp4(plain.module());
  CHECK_FALSE(plain.error->result());
  plain.read(made[0]);
  REQUIRE(plain.error->result());
  CHECK(plain.error->result()->largest == doctest::Approx(0.06));
  CHECK(plain.error->result()->relative == doctest::Approx(0.06 / 6.06));
  plain.read(made[0], 16);
  CHECK(plain.error->result()->largest == doctest::Approx(0.06));
}

TEST_CASE(
    "encode: a set's largest magnitude is the same for any number of threads, and a fault reaches all") {
  for (const bool bad : {false, true}) {
    std::vector<float> values(1U << 20, 0.5F);
    values[900'000] = bad ? std::numeric_limits<float>::infinity() : -3.0F;
    const Plain plain(Dtype::kF32, 64, 1U << 14, values);
    const Made made = plain.nvfp4();
    std::vector<std::string> scales(6);
    const auto fault = error_of(
        [&] { parallel_for(scales.size(), 6, [&](std::size_t i) { scales[i] = plain.read(made[2]); }); });
    CHECK(fault == (bad ? std::optional(ErrorKind::kMalformed) : std::nullopt));
    if (!bad) CHECK(scales == std::vector<std::string>(6, scales[0]));
  }
}

TEST_CASE("encode: magnitudes are forgotten beyond a ceiling, and found again") {
  MagnitudeCache cache;
  int found = 0;
  const auto find = [&] {
    ++found;
    return std::vector<float>(1U << 20);
  };
  for (const std::uint64_t strip : {0U, 0U, 1U, 2U, 2U, 0U}) cache.get(0, strip, find);
  CHECK(found == 4);
}
