// SPDX-License-Identifier: Apache-2.0
// Quantised models for tests: those under tests/fixtures/quantized, with what the library that wrote them makes of
// them, and others that a test makes of a few bytes.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/json.h"
#include "hash/sha256.h"
#include "testing.h"
#include "weights/open/open.h"
#include "weights/quant/stored.h"

namespace mu::testing {

// A tensor as a member of a header.
inline std::string entry(std::string_view name, std::string_view dtype, std::string_view shape,
                         std::size_t begin, std::size_t end) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})", name, dtype, shape, begin,
                     end);
}

// A set of tensors in memory, and settings.
class QuantModel {
 public:
  // tests/fixtures/quantized/NAME
  explicit QuantModel(std::string_view name)
      : folder_(std::string(MU_FIXTURES) + "/quantized/" + std::string(name)),
        weights_(open_weights(folder_ + "/model.safetensors")),
        config_(parse_json(get(folder_ + "/config.json"))) {}

  // A safetensors file of `tensors` (members of its header) and `data`; `settings` as quantization_config.
  QuantModel(std::string_view tensors, std::string_view data, std::string_view settings = "{}")
      : config_(parse_json(fmt::format(R"({{"quantization_config":{}}})", settings))) {
    const std::string header = fmt::format("{{{}}}", tensors);
    std::string file(8, '\0');
    store_le(reinterpret_cast<std::byte*>(file.data()), static_cast<std::uint64_t>(header.size()));
    put(temporary_ / "model.safetensors", file + header + std::string(data));
    weights_ = open_weights(temporary_ / "model.safetensors");
  }

  [[nodiscard]] const Weights& weights() const { return weights_; }
  [[nodiscard]] const std::string& folder() const { return folder_; }
  [[nodiscard]] QuantContext context(Dtype target = Dtype::kBF16) const {
    return {weights_, *config_.root.find("quantization_config"), target};
  }

  // What is called `module` and a further part; `weight` is the ending of the tensor with the few bits.
  [[nodiscard]] StoredWeight stored(std::string module, std::string_view weight = ".weight") const {
    StoredWeight stored{std::move(module)};
    for (const Tensor& tensor : weights_.tensors) {
      if (tensor.name == stored.module + std::string(weight)) {
        stored.weight = &tensor;
      } else if (tensor.name.starts_with(stored.module) &&
                 !std::isalnum(static_cast<unsigned char>(tensor.name[stored.module.size()]))) {
        stored.companions.push_back(&tensor);
      }
    }
    REQUIRE(stored.weight != nullptr);
    return stored;
  }

  // The plain values, as bytes of the target, in stretches of `step` elements.
  [[nodiscard]] std::string bytes(PlainWeight plain, Dtype target = Dtype::kBF16,
                                  std::uint64_t step = 1000) const {
    const Tensor tensor = plain_tensor(std::move(plain), target);
    std::string out(static_cast<std::size_t>(tensor.size), '\0');
    const std::span<std::byte> all(reinterpret_cast<std::byte*>(out.data()), out.size());
    step *= bits(target) / 8;
    for (std::uint64_t at = 0; at < tensor.size; at += step)
      weights_.read(tensor, at,
                    all.subspan(static_cast<std::size_t>(at),
                                static_cast<std::size_t>(std::min(step, tensor.size - at))));
    return out;
  }

  // The same as floats: what fits on a line of a test.
  [[nodiscard]] std::vector<float> floats(PlainWeight plain) const {
    const std::string out = bytes(std::move(plain), Dtype::kF32, 3);
    std::vector<float> values(out.size() / sizeof(float));
    std::memcpy(values.data(), out.data(), out.size());
    return values;
  }

  // A weight has the same bytes in whatever stretches it is read.
  void check_stretches(const PlainWeight& plain) const {
    const std::string whole = bytes(plain, Dtype::kBF16, 1U << 20);
    for (const std::uint64_t step : {7U, 97U}) CHECK(bytes(plain, Dtype::kBF16, step) == whole);
  }

  // Every quantised weight of a fixture has the bytes that the reference gives in bf16.
  template <typename Make>
  void check_fixture(Make make, std::string_view ending = ".weight") const {
    const JsonDocument plain = parse_json(get(folder_ + "/plain.json"));
    std::size_t checked = 0;
    for (const JsonValue::Member& member : plain.root.members()) {
      const std::string module = member.key.substr(0, member.key.rfind('.'));
      if (!member.key.ends_with("_proj.weight")) continue;
      CAPTURE(member.key);
      PlainWeight weight = make(stored(module, ending), context());
      CHECK(weight.name == member.key);
      Sha256 hash;
      hash.update(as_bytes(bytes(std::move(weight))));
      CHECK(to_hex(hash.finish()) == *member.value.find_string("sha256"));
      ++checked;
    }
    CHECK(checked > 0);
  }

 private:
  TempFolder temporary_;
  std::string folder_;
  Weights weights_;
  JsonDocument config_;
};

}  // namespace mu::testing
