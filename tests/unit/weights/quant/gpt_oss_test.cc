// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/gpt_oss.h"

#include <bit>
#include <random>

#include "os/threads.h"
#include "weights/quant/fixture.h"

using namespace mu;
using namespace mu::testing;
using namespace std::literals;

namespace {

// [experts, rows, groups, 16] blocks and their scales.
QuantModel experts(std::uint64_t count, std::uint64_t rows, std::uint64_t groups, std::string_view blocks,
                   std::string_view scales) {
  return {
      fmt::format(
          R"("x_blocks":{{"dtype":"U8","shape":[{0},{1},{2},16],"data_offsets":[0,{3}]}},"x_scales":{{"dtype":"U8","shape":[{0},{1},{2}],"data_offsets":[{3},{4}]}})",
          count, rows, groups, blocks.size(), blocks.size() + scales.size()),
      std::string(blocks) + std::string(scales)};
}

std::optional<ErrorKind> kind(const QuantModel& model) {
  return error_of([&] { plain_gpt_oss(model.stored("x", "_blocks"), model.context()); });
}

std::optional<ErrorKind> kind(std::string_view blocks, std::string_view scales) {
  return kind(QuantModel(
      fmt::format(R"("x_blocks":{{{},"data_offsets":[0,64]}},"x_scales":{{{},"data_offsets":[64,68]}})",
                  blocks, scales),
      std::string(68, '\1')));
}

}  // namespace

TEST_CASE("gpt-oss: a model has the bytes of the reference, transposed, in any stretches") {
  const QuantModel model("gpt-oss-mxfp4");
  const JsonDocument plain = parse_json(get(model.folder() + "/plain.json"));
  for (const char* const name : {"down_proj", "gate_up_proj"}) {
    const std::string module = std::string("model.layers.0.mlp.experts.") + name;
    const PlainWeight weight = plain_gpt_oss(model.stored(module, "_blocks"), model.context());
    CHECK(weight.name == module);
    CHECK(weight.shape == (name == "down_proj"sv ? std::vector<std::uint64_t>{2, 32, 64}
                                                 : std::vector<std::uint64_t>{2, 64, 64}));
    const std::string bytes = model.bytes(weight);
    Sha256 hash;
    hash.update(as_bytes(bytes));
    CHECK(to_hex(hash.finish()) == *plain.root.find(module)->find_string("sha256"));
    CHECK(model.bytes(weight, Dtype::kBF16, 13) == bytes);
    CHECK(model.bytes(weight, Dtype::kBF16, 1U << 20) == bytes);
  }
}

TEST_CASE("gpt-oss: every byte with every scale is what ldexp makes of it") {
  std::string blocks, scales;
  for (unsigned scale = 0; scale < 256; ++scale) {
    for (unsigned byte = 0; byte < 256; ++byte) blocks += static_cast<char>(byte);
    scales.append(16, static_cast<char>(scale));
  }
  const QuantModel model = experts(1, 256, 16, blocks, scales);
  const PlainWeight weight = plain_gpt_oss(model.stored("x", "_blocks"), model.context(Dtype::kF32));
  const std::string bytes = model.bytes(weight, Dtype::kF32, 1U << 20);
  const std::array<float, 8> magnitudes = {0.0F, 0.5F, 1.0F, 1.5F, 2.0F, 3.0F, 4.0F, 6.0F};
  bool same = true;
  for (int scale = 0; scale < 256; ++scale) {
    for (std::size_t i = 0; i < 512; ++i) {
      const unsigned code = static_cast<unsigned>(i % 2 == 0 ? i / 2 & 15U : i / 2 >> 4U);
      const float magnitude = std::ldexp(magnitudes[code & 7U], scale - 127);
      const float expected = code < 8 ? magnitude : -magnitude;
      float value = 0;
      std::memcpy(&value, bytes.data() + 4 * (i * 256 + static_cast<std::size_t>(scale)), 4);
      same = same && std::bit_cast<std::uint32_t>(value) == std::bit_cast<std::uint32_t>(expected);
    }
  }
  CHECK(same);
}

TEST_CASE("gpt-oss: experts larger than what is kept of them, by several threads") {
  constexpr std::uint64_t kExperts = 2, kRows = 1100, kGroups = 250;  // 4.4 MB each
  std::mt19937 random(9);
  std::string blocks(kExperts * kRows * kGroups * 16, '\0'), scales(kExperts * kRows * kGroups, '\0');
  for (char& byte : blocks) byte = static_cast<char>(random());
  for (char& byte : scales) byte = static_cast<char>(100 + random() % 50);
  const QuantModel model = experts(kExperts, kRows, kGroups, blocks, scales);
  const Tensor tensor =
      plain_tensor(plain_gpt_oss(model.stored("x", "_blocks"), model.context(Dtype::kF32)), Dtype::kF32);
  constexpr std::uint64_t kStep = 256U << 10;
  const std::uint64_t count = tensor.size / 4;
  std::vector<float> values(count);
  parallel_for((count + kStep - 1) / kStep, 3, [&](std::size_t i) {
    const std::span<float> piece = std::span(values).subspan(i * kStep, std::min(kStep, count - i * kStep));
    model.weights().read(tensor, i * kStep * 4, std::as_writable_bytes(piece));
  });
  const std::array<float, 16> codes = {0.0F,  0.5F,  1.0F,  1.5F,  2.0F,  3.0F,  4.0F,  6.0F,
                                       -0.0F, -0.5F, -1.0F, -1.5F, -2.0F, -3.0F, -4.0F, -6.0F};
  bool same = true;
  for (std::uint64_t e = 0; e < kExperts; ++e) {
    for (std::uint64_t k = 0; k < 32 * kGroups; k += 7) {
      for (std::uint64_t r = 0; r < kRows; ++r) {
        const std::uint64_t group = (e * kRows + r) * kGroups + k / 32;
        const auto byte = static_cast<std::uint8_t>(blocks[group * 16 + k % 32 / 2]);
        const float expected = std::ldexp(codes[k % 2 == 0 ? byte & 15U : byte >> 4U],
                                          static_cast<std::uint8_t>(scales[group]) - 127);
        same = same && values[(e * 32 * kGroups + k) * kRows + r] == expected;
      }
    }
  }
  CHECK(same);
}

TEST_CASE("gpt-oss: what doesn't fit is malformed") {
  constexpr std::string_view kBlocks = R"("dtype":"U8","shape":[1,2,2,16])",
                             kScales = R"("dtype":"U8","shape":[1,2,2])";
  CHECK_FALSE(kind(kBlocks, kScales));
  CHECK(kind(kBlocks, R"("dtype":"U8","shape":[2,2,1])") == ErrorKind::kMalformed);
  CHECK(kind(kBlocks, R"("dtype":"U8","shape":[4])") == ErrorKind::kMalformed);
  CHECK(kind(kBlocks, R"("dtype":"F8_E4M3","shape":[1,2,2])") == ErrorKind::kMalformed);
  CHECK(kind(R"("dtype":"I8","shape":[1,2,2,16])", kScales) == ErrorKind::kMalformed);
  CHECK(kind(R"("dtype":"U8","shape":[1,4,1,16])", kScales) == ErrorKind::kMalformed);
  CHECK(kind(R"("dtype":"U8","shape":[1,2,1,32])", kScales) == ErrorKind::kMalformed);
  CHECK(kind(R"("dtype":"U8","shape":[2,2,16])", kScales) == ErrorKind::kMalformed);
  CHECK(kind(QuantModel(R"("x_blocks":{"dtype":"U8","shape":[1,1,1,16],"data_offsets":[0,16]})",
                        std::string(16, '\1'))) == ErrorKind::kMalformed);
}
