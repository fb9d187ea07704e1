// SPDX-License-Identifier: Apache-2.0
#include "model/renaming.h"

#include <doctest/doctest.h>

#include <fmt/format.h>

#include "base/natural.h"
#include "testing.h"
#include "weights/layout.h"

using namespace mu;
using namespace mu::testing;

namespace {

using Shape = std::vector<std::uint64_t>;

// A list of BF16 tensors that lie one after the other in one file.
class Model {
 public:
  explicit Model(std::string_view architecture, std::string_view config = "")
      : config_(parse_model_config(fmt::format(R"({{"architectures": ["{}"]{}}})", architecture, config))),
        names_(TensorNames::of(config_)) {
    REQUIRE(names_ != nullptr);
  }

  Model& add(const std::string& name, const Shape& shape) {
    const std::uint64_t size = 2 * element_count(shape).value();
    tensors_.push_back({name, Dtype::kBF16, shape, 0, at_, size});
    at_ += size;
    return *this;
  }

  [[nodiscard]] Renaming published() const { return to_published(tensors_, *names_, config_); }
  [[nodiscard]] Renaming memory() const { return to_memory(tensors_, *names_, config_); }
  // The same model under the names that a renaming gave.
  [[nodiscard]] Model renamed(const Renaming& renaming) const {
    Model other = *this;
    other.tensors_.clear();
    for (const Renaming::Item& item : renaming.items) other.tensors_.push_back(item.tensor);
    return other;
  }

 private:
  ModelConfig config_;
  std::shared_ptr<const TensorNames> names_;
  std::vector<Tensor> tensors_;
  std::uint64_t at_ = 0;
};

std::vector<std::string> names_of(const Renaming& renaming) {
  std::vector<std::string> names;
  for (const Renaming::Item& item : renaming.items) names.push_back(item.tensor.name);
  return names;
}

const Tensor& find(const Renaming& renaming, std::string_view name) {
  for (const Renaming::Item& item : renaming.items) {
    if (item.tensor.name == name) return item.tensor;
  }
  FAIL("there is no " << name);
  return renaming.items.front().tensor;
}

Model mixtral() {
  Model model("MixtralForCausalLM");
  model.add("lm_head.weight", {8, 4})
      .add("model.layers.0.mlp.experts.down_proj", {3, 4, 5})
      .add("model.layers.0.mlp.experts.gate_up_proj", {3, 10, 4})
      .add("model.layers.0.mlp.gate.weight", {3, 4})
      .add("model.norm.weight", {4});
  return model;
}

}  // namespace

TEST_CASE("natural order: numbers as numbers, and before text") {
  const std::vector<std::string> names = {"a",   "a.1",  "a.2.c",      "a.10",       "a.b",
                                          "a.w", "a.w2", "a.w2.x",     "a.w10",      "a.x1y",
                                          "a1",  "a1.0", "layers.2.w", "layers.10.w"};
  for (std::size_t i = 0; i < names.size(); ++i) {
    for (std::size_t k = 0; k < names.size(); ++k) {
      CAPTURE(names[i]);
      CAPTURE(names[k]);
      CHECK(natural_less(names[i], names[k]) == (i < k));
    }
  }
  CHECK(!natural_less("a.07.b", "a.7.b"));
  CHECK(!natural_less("a.7.b", "a.07.b"));
  CHECK(natural_less("a.07.b", "a.7.c"));
  CHECK(natural_less("a..b", "a.b"));
  CHECK(natural_less("a", "a."));
}

TEST_CASE("renaming: experts are split, in the order of save_pretrained") {
  const Renaming renaming = mixtral().published();
  const std::string moe = "model.layers.0.block_sparse_moe.";
  CHECK(names_of(renaming) ==
        std::vector<std::string>{"lm_head.weight", moe + "experts.0.w2.weight", moe + "experts.1.w2.weight",
                                 moe + "experts.2.w2.weight", moe + "experts.0.w1.weight",
                                 moe + "experts.1.w1.weight", moe + "experts.2.w1.weight",
                                 moe + "experts.0.w3.weight", moe + "experts.1.w3.weight",
                                 moe + "experts.2.w3.weight", moe + "gate.weight", "model.norm.weight"});
  CHECK(renaming.changed == 3);
  CHECK(renaming.items[0].from == std::vector<std::size_t>{0});
  CHECK(renaming.items[5].from == std::vector<std::size_t>{2});
  const Tensor& up = find(renaming, moe + "experts.1.w3.weight");
  CHECK(up.layout == nullptr);
  CHECK(up.shape == Shape{5, 4});
  CHECK(up.offset == 2 * (32 + 60 + 40 + 20));
  CHECK(up.size == 40);
}

TEST_CASE("renaming: the way back gives the same tensors") {
  const Model model = mixtral();
  const Renaming back = model.renamed(model.published()).memory();
  // Nothing is copied or reordered: each is the run of bytes that it was.
  CHECK(find(back, "model.layers.0.mlp.experts.gate_up_proj").layout == nullptr);
  CHECK(find(back, "model.layers.0.mlp.experts.gate_up_proj").offset == 2 * (32 + 60));
  CHECK(find(back, "model.layers.0.mlp.experts.gate_up_proj").shape == Shape{3, 10, 4});
  CHECK(find(back, "model.layers.0.mlp.experts.down_proj").offset == 2 * 32);
  CHECK(back.items.size() == 5);
  CHECK(back.changed == 10);
  CHECK(back.items[2].from == std::vector<std::size_t>{4, 5, 6, 7, 8, 9});
}
