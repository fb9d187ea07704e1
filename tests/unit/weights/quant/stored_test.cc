// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/stored.h"

#include "os/threads.h"
#include "weights/quant/bitsandbytes.h"
#include "weights/quant/fixture.h"

using namespace mu;
using namespace mu::testing;

TEST_CASE(
    "stored: a weight that is turned has rows and columns exchanged, in any stretches and by several "
    "threads") {
  const QuantModel model("bnb-nf4");
  const StoredWeight stored = model.stored("model.layers.0.mlp.down_proj");  // [64, 96]
  const std::string plain = model.bytes(plain_bitsandbytes(stored, model.context()));
  const Tensor tensor = turned(plain_tensor(plain_bitsandbytes(stored, model.context()), Dtype::kBF16));
  CHECK(tensor.name == "model.layers.0.mlp.down_proj.weight");
  CHECK(tensor.shape == std::vector<std::uint64_t>{96, 64});
  std::string expected(plain.size(), '\0');
  for (std::size_t r = 0; r < 64; ++r) {
    for (std::size_t c = 0; c < 96; ++c)
      std::memcpy(&expected[2 * (c * 64 + r)], &plain[2 * (r * 96 + c)], 2);
  }
  for (const std::size_t step : {2U, 14U, 1000U, 1U << 20U}) {
    std::string out(plain.size(), '\0');
    const std::span<std::byte> all(reinterpret_cast<std::byte*>(out.data()), out.size());
    parallel_for((out.size() + step - 1) / step, 3, [&](std::size_t i) {
      model.weights().read(tensor, i * step, all.subspan(i * step, std::min(step, out.size() - i * step)));
    });
    CHECK(out == expected);
  }
}
