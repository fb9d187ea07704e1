// SPDX-License-Identifier: Apache-2.0
#include "model/adapter_in_base.h"

#include <doctest/doctest.h>

#include <deque>

using namespace mu;

namespace {

using Way = NamesInBase::Way;
using Shape = std::vector<std::uint64_t>;

struct Stored {
  std::string name;
  Shape shape;
};

struct Factors {
  std::string module;
  std::uint64_t out, in, rank = 2;
};

// An adapter and a base, made of names and shapes.
struct Pair {
  std::deque<Tensor> factors;
  AdapterContent adapter;
  LoraConfig config;
  Input base;

  Pair(const std::string& model_config, const std::vector<Stored>& stored,
       const std::vector<Factors>& modules, const std::string& adapter_config = "{}") {
    base.config = parse_model_config(model_config);
    base.weights.files.emplace_back();
    for (const Stored& one : stored) {
      Tensor tensor;
      tensor.name = one.name;
      tensor.dtype = one.shape.size() == 1 ? Dtype::kU8 : Dtype::kBF16;
      tensor.shape = one.shape;
      base.weights.tensors.push_back(std::move(tensor));
    }
    static_cast<AdapterPatterns&>(config) = parse_adapter_patterns(parse_json(adapter_config).root);
    for (const Factors& one : modules) {
      Tensor tensor;
      tensor.dtype = Dtype::kF32;
      tensor.shape = {one.rank, one.in};
      const Tensor* const a = &factors.emplace_back(tensor);
      tensor.shape = {one.out, one.rank};
      const Tensor* const b = &factors.emplace_back(tensor);
      adapter.modules.push_back({.name = one.module, .a = a, .b = b});
    }
  }
  [[nodiscard]] AdapterInBase find() const { return find_in_base(adapter, config, base); }
};

const std::string kLlava = R"({"architectures": ["LlavaForConditionalGeneration"], "text_config": {}})",
                  kQwen = R"({"architectures": ["Qwen2_5_VLForConditionalGeneration"], "text_config": {}})",
                  kMixtral = R"({"architectures": ["MixtralForCausalLM"]})",
                  kExperts =
                      R"({"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]})";

}  // namespace

TEST_CASE("adapter in base: one rule of names for all modules") {
  struct Row {
    std::string config;
    std::vector<Stored> base;
    std::vector<std::string> modules;  // with factors for [4, 6]
    Way way;
    std::string first;
  };
  for (const Row& row : {
           Row{"{}", {{"model.l.0.q.weight", {4, 6}}}, {"model.l.0.q"}, Way::kAsIs, "model.l.0.q.weight"},
           {kMixtral,
            {{"model.layers.0.block_sparse_moe.gate.weight", {4, 6}}},
            {"model.layers.0.mlp.gate"},
            Way::kPublished,
            "model.layers.0.block_sparse_moe.gate.weight"},
           {kMixtral,
            {{"model.layers.0.mlp.gate.weight", {4, 6}}},
            {"model.layers.0.block_sparse_moe.gate"},
            Way::kMemory,
            "model.layers.0.mlp.gate.weight"},
           {kQwen,
            {{"model.layers.0.q.weight", {4, 6}}},
            {"model.language_model.layers.0.q"},
            Way::kPublished,
            "model.layers.0.q.weight"},
           {kLlava,
            {{"language_model.model.layers.0.q.weight", {4, 6}}, {"language_model.lm_head.weight", {4, 6}}},
            {"model.layers.0.q", "lm_head"},
            Way::kText,
            "language_model.model.layers.0.q.weight"},
           {R"({"text_config": {}})",
            {{"model.language_model.layers.0.q.weight", {4, 6}}, {"lm_head.weight", {4, 6}}},
            {"model.layers.0.q", "lm_head"},
            Way::kText,
            "model.language_model.layers.0.q.weight"},
           {"{}", {{"h.0.c.weight", {4, 6}}}, {"transformer.h.0.c"}, Way::kWithout, "h.0.c.weight"},
           {"{}", {{"model.l.0.q.weight", {4, 6}}}, {"l.0.q"}, Way::kWith, "model.l.0.q.weight"},
       }) {
    CAPTURE(row.first);
    std::vector<Factors> factors;
    for (const std::string& module : row.modules) factors.push_back({module, 4, 6});
    const Pair pair(row.config, row.base, factors);
    const AdapterInBase found = pair.find();
    CHECK(found.names.way() == row.way);
    CHECK(found.names.note().empty() == (row.way == Way::kAsIs));
    for (const PlaceInBase& place : found.modules) {
      REQUIRE(place.tensors.size() == 1);
      CHECK(place.fits);
    }
    CHECK(found.modules.front().name == row.first);
    CHECK(found.modules.front().tensors.front()->name == row.first);
  }
}

TEST_CASE("adapter in base: what no rule finds, and what may be meant") {
  const Pair pair("{}",
                  {{"model.l.0.q.weight", {4, 6}},
                   {"visual.l.3.q.weight", {4, 6}},
                   {"model.l.1.q.weight", {4, 6}},
                   {"x.l.3.q.weight", {5, 6}},
                   {"y.q.weight", {4, 6}},
                   {"y.big_q.weight", {4, 6}}},
                  {{"model.l.0.q", 4, 6}, {"model.l.3.q", 4, 6}, {"model.l.3.other", 4, 6}});
  const AdapterInBase found = pair.find();
  CHECK(found.names.way() == Way::kAsIs);
  CHECK_FALSE(found.modules[0].is_missing());
  CHECK(found.modules[0].candidates.empty());
  CHECK(found.modules[1].is_missing());
  CHECK(found.modules[1].candidates ==
        std::vector<std::string>{"visual.l.3.q.weight", "model.l.0.q.weight", "model.l.1.q.weight"});
  CHECK(found.modules[2].candidates.empty());
}

TEST_CASE("adapter in base: a text adapter goes where all of it fits, and nowhere else") {
  const std::string text = "model.language_model.", tower = "model.vision_tower.";
  const auto base = [&](std::uint64_t width) {
    return std::vector<Stored>{{text + "layers.0.q.weight", {4, 6}},
                               {text + "layers.1.q.weight", {4, 6}},
                               {tower + "layers.0.q.weight", {4, 6}},
                               {tower + "layers.1.q.weight", {4, width}}};
  };
  const std::vector<Factors> both = {{"model.layers.0.q", 4, 6}, {"model.layers.1.q", 4, 6}};
  const AdapterInBase one = Pair(kLlava, base(5), both).find();
  CHECK(one.names.prefix() == text);
  CHECK_FALSE(one.is_ambiguous);
  const AdapterInBase two = Pair(kLlava, base(6), both).find();
  CHECK(two.is_ambiguous);
  CHECK(two.names.way() == Way::kAsIs);
  CHECK(two.modules[0].candidates == std::vector<std::string>{text + "layers.0.q.weight",
                                                              tower + "layers.0.q.weight",
                                                              text + "layers.1.q.weight"});
  // Of another size: there, but it does not fit.
  const AdapterInBase other = Pair(kLlava, base(5), {{"model.layers.0.q", 8, 6}}).find();
  CHECK(other.names.prefix() == text);
  CHECK_FALSE(other.modules[0].fits);
  // Only a tower has that shape.
  CHECK(Pair(kLlava, base(5), {{"model.layers.1.q", 4, 5}}).find().modules[0].is_missing());
  // Without a text_config there is no language model to look for.
  CHECK(Pair("{}", base(5), both).find().modules[0].is_missing());
}

TEST_CASE("adapter in base: stacks of experts") {
  const std::string layer = "model.layers.0.mlp.experts", apart = "model.layers.0.block_sparse_moe.experts.";
  const std::vector<Stored> stacked = {{layer + ".gate_up_proj", {3, 20, 12}},
                                       {layer + ".down_proj", {3, 12, 10}}};
  std::vector<Stored> split;
  for (const std::string expert : {"0", "1", "2"}) {
    split.push_back({apart + expert + ".w1.weight", {10, 12}});
    split.push_back({apart + expert + ".w2.weight", {12, 10}});
    split.push_back({apart + expert + ".w3.weight", {10, 12}});
  }
  const std::vector<Factors> factors = {{layer + ".base_layer", 20, 12, 6}, {layer, 12, 10, 6}};
  for (const std::vector<Stored>& base : {stacked, split}) {
    // Told by target_parameters, and by shape without.
    for (const std::string& config : {kExperts, std::string("{}")}) {
      if (config == "{}" && base.size() > 2) continue;
      const AdapterInBase found = Pair(kMixtral, base, factors, config).find();
      CHECK(found.modules[0].parameter == layer + ".gate_up_proj");
      CHECK(found.modules[0].shape == Shape{3, 20, 12});
      CHECK(found.modules[0].tensors.size() == (base.size() > 2 ? 3 : 1));
      CHECK(found.modules[0].fits);
      CHECK(found.modules[1].parameter == layer + ".down_proj");
      CHECK(found.modules[1].shape == Shape{3, 12, 10});
      CHECK(found.modules[1].fits);
    }
  }
  // One wrapper alone has no base_layer, whichever it is.
  const std::string one = R"({"target_parameters": ["mlp.experts.gate_up_proj"]})";
  const AdapterInBase alone = Pair(kMixtral, split, {{layer, 20, 12, 6}}, one).find();
  CHECK(alone.modules[0].name == apart + "*.w1.weight");
  CHECK(alone.modules[0].fits);
  CHECK_FALSE(Pair(kMixtral, split, {{layer, 20, 12, 7}}, one).find().modules[0].fits);
  CHECK_FALSE(Pair(kMixtral, split, {{layer, 20, 14, 6}}, one).find().modules[0].fits);
  // Without target_parameters square experts can't be told apart.
  const std::vector<Stored> square = {{layer + ".gate_up_proj", {3, 8, 8}},
                                      {layer + ".down_proj", {3, 8, 8}}};
  CHECK(Pair(kMixtral, square, {{layer, 8, 8, 6}}).find().modules[0].is_missing());
}

TEST_CASE("adapter in base: modules of single experts") {
  const std::string apart = "model.layers.0.block_sparse_moe.experts.";
  const std::vector<Factors> factors = {{apart + "0.w1", 10, 12}, {apart + "2.w2", 12, 10}};
  const AdapterInBase same =
      Pair(kMixtral, {{apart + "0.w1.weight", {10, 12}}, {apart + "2.w2.weight", {12, 10}}}, factors).find();
  CHECK(same.names.way() == Way::kAsIs);
  CHECK(same.modules[1].fits);
  const std::string layer = "model.layers.0.mlp.experts.";
  const AdapterInBase stacked =
      Pair(kMixtral, {{layer + "gate_up_proj", {3, 20, 12}}, {layer + "down_proj", {3, 12, 10}}}, factors)
          .find();
  CHECK(stacked.names.way() == Way::kMemory);
  CHECK(stacked.modules[0].shape == Shape{10, 12});
  CHECK(stacked.modules[0].fits);
  CHECK(stacked.modules[1].shape == Shape{12, 10});
}

TEST_CASE("adapter in base: heads that are tied, embeddings, weights of few bits") {
  const std::string tied =
      R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "tie_word_embeddings": true})";
  const Pair head(tied, {{"model.embed_tokens.weight", {9, 6}}}, {{"lm_head", 9, 6}});
  CHECK(head.find().modules[0].tensors.front()->name == "model.embed_tokens.weight");
  CHECK(head.find().modules[0].fits);
  Pair embedding("{}", {{"model.embed_tokens.weight", {9, 6}}}, {{"model.embed_tokens", 6, 9}});
  CHECK_FALSE(embedding.find().modules[0].fits);
  embedding.adapter.modules[0].is_embedding = true;
  CHECK(embedding.find().modules[0].fits);
  // bitsandbytes: 4 bits, as a column.
  const Pair few(
      "{}", {{"model.q.weight", {12}}, {"model.q.weight.absmax", {1}}, {"model.q.weight.quant_map", {16}}},
      {{"model.q", 4, 6}});
  CHECK_FALSE(few.find().modules[0].is_missing());
  CHECK(few.find().modules[0].shape.empty());
  CHECK(few.find().modules[0].fits);
}
