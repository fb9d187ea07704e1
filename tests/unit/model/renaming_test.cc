// SPDX-License-Identifier: Apache-2.0
#include "model/renaming.h"

#include <doctest/doctest.h>

#include <fmt/format.h>

#include "base/natural.h"
#include "testing.h"
#include "weights/gather.h"

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

  Renaming published() const { return to_published(tensors_, *names_, config_); }
  Renaming memory() const { return to_memory(tensors_, *names_, config_); }
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

// The message of the error that `action` ends with, which is kMalformed; empty if it does not.
template <typename Action>
std::string fault_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kMalformed);
    return error.message();
  }
  return "";
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

TEST_CASE("renaming: what transformers keeps in one memory is one block") {
  const auto blocks = [](const Renaming& renaming) {
    std::vector<std::size_t> list;
    for (const Renaming::Item& item : renaming.items) list.push_back(item.block);
    return list;
  };
  // Gates and ups are chunks of a stack, which are copied; the experts of each are views of the copy.
  Model mixtral("MixtralForCausalLM");
  mixtral.add("model.layers.0.mlp.experts.gate_up_proj", {2, 6, 4}).add("model.norm.weight", {4});
  CHECK(blocks(mixtral.published()) == std::vector<std::size_t>{0, 0, 2, 2, 4});
  // A stack of one expert is one run of rows: both chunks are views of it.
  Model one("MixtralForCausalLM");
  one.add("model.layers.0.mlp.experts.gate_up_proj", {1, 6, 4});
  CHECK(blocks(one.published()) == std::vector<std::size_t>{0, 0});
  // Experts of text and vision are counted through, gates before ups, and lie in two memories.
  Model ernie("Ernie4_5_VLMoeForConditionalGeneration");
  for (const char* kind : {"text", "vision"})
    ernie.add(fmt::format("model.language_model.layers.1.mlp.{}_moe.experts.gate_up_proj", kind), {2, 6, 4});
  CHECK(blocks(ernie.published()) == std::vector<std::size_t>{0, 0, 2, 2, 0, 0, 2, 2});
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

TEST_CASE("renaming: names of the published side, in vectors") {
  Model qwen("Qwen2_5_VLForConditionalGeneration");
  qwen.add("lm_head.weight", {2, 2})
      .add("model.language_model.layers.10.x", {2})
      .add("model.language_model.layers.2.x", {2});
  qwen.add("model.visual.blocks.0.x", {2});
  CHECK(names_of(qwen.published()) == std::vector<std::string>{"lm_head.weight", "model.layers.2.x",
                                                               "model.layers.10.x", "visual.blocks.0.x"});
  CHECK(qwen.published().changed == 3);
  Model llava("LlavaForConditionalGeneration");
  llava.add("lm_head.weight", {2, 2}).add("model.vision_tower.x", {2}).add("score.weight", {2});
  CHECK(names_of(llava.published()) ==
        std::vector<std::string>{"language_model.lm_head.weight", "vision_tower.x", "score.weight"});
}

TEST_CASE("renaming: a rule may take a part of a name away") {
  Model model("RfDetrForObjectDetection");
  model.add("model.backbone.backbone.embeddings.cls_token", {1, 1, 4});
  CHECK(model.published().items.size() == 1);
}

TEST_CASE("renaming: rules that wait for a name see the whole model, and numbers are shifted") {
  Model kimi("Kimi_K25ForConditionalGeneration");
  const std::string blocks = "model.vision_tower.layers.0.";
  for (const std::string_view leaf : {"norm1.weight", "norm2.weight"})
    kimi.add(blocks + std::string(leaf), {2});
  const std::vector<std::string> both = names_of(kimi.published());
  CHECK(both[0].ends_with("blocks.0.norm0.weight"));
  CHECK(both[1].ends_with("blocks.0.norm1.weight"));
  Model half("Kimi_K25ForConditionalGeneration");
  half.add(blocks + "norm2.weight", {2});
  CHECK(names_of(half.published())[0].ends_with("blocks.0.norm2.weight"));
  Model inkling("Inkling2ForCausalLM");
  inkling.add("model.layers.3.attention_input.query", {2});
  CHECK(names_of(inkling.published())[0].find("attn_res.attn_queries.2") != std::string::npos);
}

TEST_CASE("renaming: rows of rotary embeddings change places by the heads of the config") {
  Model model("GradiumPhononTTSModel", R"(, "num_attention_heads": 2)");
  // Queries, keys and values of 8 rows each, in pairs of neighbours; in memory, in halves of a head.
  model.add("layers.0.self_attn.in_proj.weight", {24, 1});
  const Renaming renaming = model.memory();
  REQUIRE(renaming.items.size() == 3);
  const auto rows = [](const Tensor& tensor) {
    std::vector<std::uint16_t> values(tensor.element_count());
    const auto read = [](std::uint32_t, std::uint64_t offset, std::span<std::byte> out) {
      for (std::size_t i = 0; i < out.size(); i += 2) {
        out[i] = static_cast<std::byte>((offset + i) / 2);
        out[i + 1] = std::byte{0};
      }
    };
    const std::span<std::byte> bytes = std::as_writable_bytes(std::span(values));
    tensor.layout ? gather(tensor, 0, bytes, read) : read(0, tensor.offset, bytes);
    return values;
  };
  using Rows = std::vector<std::uint16_t>;
  CHECK(rows(renaming.items[0].tensor) == Rows{0, 2, 1, 3, 4, 6, 5, 7});
  CHECK(rows(renaming.items[1].tensor) == Rows{8, 10, 9, 11, 12, 14, 13, 15});
  CHECK(rows(renaming.items[2].tensor) == Rows{16, 17, 18, 19, 20, 21, 22, 23});
  const Renaming back = model.renamed(renaming).published();
  REQUIRE(back.items.size() == 1);
  Rows all(24);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
  CHECK(rows(back.items[0].tensor) == all);
  Model headless("GradiumPhononTTSModel");
  headless.add("layers.0.self_attn.in_proj.weight", {24, 1});
  CHECK(fault_of([&] { headless.memory(); }).find("num_attention_heads") != std::string::npos);
}

TEST_CASE("renaming: experts that are missing at the end are counted by the config") {
  const auto fault = [](std::string_view config) {
    Model model("MixtralForCausalLM", config);
    for (const char* part : {"0.w1", "0.w2", "0.w3", "1.w1", "1.w2", "1.w3"})
      model.add("model.layers.0.block_sparse_moe.experts." + std::string(part) + ".weight", {4, 4});
    return fault_of([&] { model.memory(); });
  };
  CHECK(fault(R"(, "num_local_experts": 2)") == "");
  CHECK(fault(R"(, "num_local_experts": 3)").find("has 2 experts, but config.json says 3") !=
        std::string::npos);
  CHECK(fault(R"(, "text_config": {"num_experts": 3})").find("config.json says 3") != std::string::npos);
  CHECK(fault(R"(, "num_experts": [3, 3])") == "");
  // A layer may have fewer than the others.
  CHECK(fault(R"(, "num_local_experts": 3, "per_layer_config": {"0": {"num_local_experts": 2}})") == "");
  CHECK(fault(R"(, "num_local_experts": 3, "per_layer_config": {"1": {"num_local_experts": 2}})")
            .find("config.json says 3") != std::string::npos);
  CHECK(fault(R"(, "num_local_experts": 2, "per_layer_config": {"0": {"num_local_experts": 3}})")
            .find("config.json says 3") != std::string::npos);
}

TEST_CASE("renaming: stacks that lack experts are not split") {
  const auto fault = [](const Shape& gate_up, const Shape& down, std::string_view config = "") {
    Model model("MixtralForCausalLM", config);
    model.add("model.layers.0.mlp.experts.gate_up_proj", gate_up);
    model.add("model.layers.0.mlp.experts.down_proj", down);
    return fault_of([&] { model.published(); });
  };
  CHECK(fault({3, 10, 4}, {3, 4, 5}) == "");
  CHECK(fault({3, 10, 4}, {3, 4, 5}, R"(, "num_local_experts": 3)") == "");
  CHECK(fault({3, 10, 4}, {2, 4, 5}) ==
        "'model.layers.0.mlp.experts.down_proj' has 2 experts, 'model.layers.0.mlp.experts.gate_up_proj' has "
        "3");
  CHECK(fault({10, 4}, {3, 4, 5}).find("has 10") != std::string::npos);
  CHECK(fault({2, 10, 4}, {2, 4, 5}, R"(, "num_local_experts": 3)").find("but config.json says 3") !=
        std::string::npos);
}

TEST_CASE("renaming: experts that do nothing have rows in one of the stacks") {
  const auto fault = [](int gates, std::string_view config) {
    Model model("LongcatFlashForCausalLM", config);
    const auto add = [&](int expert, const char* part) {
      model.add(fmt::format("model.layers.0.mlp.experts.{}.{}_proj.weight", expert, part), {4, 4});
    };
    for (int i = 0; i < gates; ++i) {
      add(i, "gate");
      add(i, "up");
    }
    for (int i = 0; i < 2; ++i) add(i, "down");
    return fault_of([&] { model.memory(); });
  };
  constexpr std::string_view kTwoOfFour = R"(, "n_routed_experts": 2, "zero_expert_num": 2)";
  CHECK(fault(4, kTwoOfFour) == "");
  CHECK(fault(2, kTwoOfFour) == "");
  CHECK(fault(3, kTwoOfFour).find("has 3") != std::string::npos);
  CHECK(fault(5, kTwoOfFour).find("has 5") != std::string::npos);
  CHECK(fault(4, R"(, "n_routed_experts": 2, "zero_expert_num": null)").find("has 4") != std::string::npos);
  CHECK(fault(4, R"(, "n_routed_experts": 3, "zero_expert_num": 2)").find("config.json says 3") !=
        std::string::npos);
}

TEST_CASE("renaming: what does not fit is refused, by name") {
  const std::string experts = "model.layers.0.block_sparse_moe.experts.";
  const auto published = [&](std::initializer_list<std::pair<const char*, Shape>> parts) {
    Model model("MixtralForCausalLM");
    for (const auto& [name, shape] : parts) model.add(experts + name, shape);
    return fault_of([&] { model.memory(); });
  };
  const Shape up = {5, 4};
  CHECK(published({{"0.w1.weight", up}, {"0.w3.weight", up}, {"0.w2.weight", up}}) == "");
  CHECK(published({{"0.w1.weight", up}, {"0.w3.weight", up}})
            .find("'model.layers.0.mlp.experts.gate_up_proj' is there without "
                  "'model.layers.0.mlp.experts.down_proj'") != std::string::npos);
  CHECK(published({{"0.w2.weight", up}}).find(".experts.*.w1.weight' or '.experts.*.w3.weight'") !=
        std::string::npos);
  const std::string stack = "'model.layers.0.mlp.experts.gate_up_proj'";
  const std::string no_up =
      published({{"0.w1.weight", up}, {"1.w1.weight", up}, {"0.w2.weight", up}, {"1.w2.weight", up}});
  CHECK(no_up.find(stack + ": 2 of its parts are there, but only 0 match") == 0);
  CHECK(published({{"0.w1.weight", up}, {"0.w3.weight", up}, {"1.w3.weight", up}}).find(stack) == 0);
  CHECK(published({{"0.w2.weight", up}, {"2.w2.weight", up}}).find("its part 1 is missing") !=
        std::string::npos);
  CHECK(published({{"1.w2.weight", up}, {"2.w2.weight", up}}).find("its part 0 is missing") !=
        std::string::npos);
  // One alone is not taken for the first.
  CHECK(published({{"1.w2.weight", up}}).find("its part 0 is missing") != std::string::npos);
  CHECK(published({{"0.w2.weight", up}, {"1.w2.weight", {4, 4}}}).find("'" + experts + "1.w2.weight'") !=
        std::string::npos);
  CHECK(published({{"0.w1.weight", up}, {"0.w3.weight", up}, {"0.w2.weight", up}, {"1.w2.weight", up}})
            .find("has 1 expert, ") != std::string::npos);
  const auto memory = [](const Shape& shape) {
    Model model("MixtralForCausalLM");
    model.add("model.layers.0.mlp.experts.gate_up_proj", shape);
    return fault_of([&] { model.published(); });
  };
  CHECK(memory({3, 5, 4}).find("5 elements don't divide into 2 parts") != std::string::npos);
  CHECK(memory({3}).find("2 dimensions or more") != std::string::npos);
  CHECK(memory({0, 4, 4}).find("0 experts") != std::string::npos);
  CHECK(memory({std::uint64_t{1} << 40, 2, 0}).find("experts") != std::string::npos);
  Model twice = mixtral();
  twice.add("model.layers.0.block_sparse_moe.gate.weight", {3, 4});
  CHECK(fault_of([&] { twice.published(); }).find("would both be") != std::string::npos);
}
