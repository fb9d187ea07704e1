// SPDX-License-Identifier: Apache-2.0
#include "pack/quantise.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "pack/quant_left.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

// A model of tensors that lie nowhere: planning reads none.
class Model {
 public:
  explicit Model(std::string_view model_type = "llama") {
    input_.name = "model";
    input_.config = parse_model_config(fmt::format(R"({{"model_type":"{}"}})", model_type));
  }

  Model& add(const std::string& name, std::vector<std::uint64_t> shape, Dtype dtype = Dtype::kBF16) {
    const std::uint64_t size = tensor_bytes(dtype, shape).bytes;
    input_.weights.tensors.push_back({name, dtype, std::move(shape), 0, 0, size});
    return *this;
  }

  QuantizePlan plan(QuantScheme scheme, const std::vector<std::string>& keep = {},
                    NamesOptions::Mode mode = NamesOptions::Mode::kAuto) {
    QuantizeOptions options{.scheme = scheme};
    for (const std::string& glob : keep) options.keep.emplace_back(glob);
    names_.mode = mode;
    tensors_ = choose_tensors(input_.weights.tensors, {}, {});
    return quantise_tensors(tensors_, options, {input_, names_, {"lm_head.weight"}}, made_);
  }

  [[nodiscard]] std::vector<std::string> written() const {
    std::vector<std::string> names;
    for (const PackedTensor& tensor : tensors_) names.push_back(tensor.output.name);
    return names;
  }
  [[nodiscard]] const Tensor& tensor(std::string_view name) const {
    for (const PackedTensor& tensor : tensors_) {
      if (tensor.output.name == name) return *tensor.input;
    }
    FAIL("no tensor ", name);
    return *tensors_.front().input;
  }

 private:
  Input input_;
  NamesOptions names_;
  std::vector<PackedTensor> tensors_;
  std::vector<MadeTensors> made_;
};

using Names = std::vector<std::string>;

Names left_names(const QuantizePlan& plan) {
  Names names;
  for (const QuantizePlan::Left& left : plan.left) names.push_back(left.name + ": " + left.reason);
  return names;
}

std::optional<ErrorKind> kind(Model& model, QuantScheme scheme, const Names& keep = {}) {
  return error_of([&] { model.plan(scheme, keep); });
}

}  // namespace

TEST_CASE("quantise: matrices of modules become codes and scales, the rest stays with a reason") {
  Model model;
  model.add("model.layers.10.mlp.down_proj.weight", {64, 96})
      .add("model.layers.2.mlp.up_proj.weight", {96, 64});
  model.add("model.layers.2.mlp.up_proj.bias", {96}).add("model.norm.weight", {64}).add("x", {2, 2});
  const QuantizePlan plan = model.plan(QuantScheme::kFp8Dynamic, {"*layers.10.*"});
  CHECK(left_names(plan) == Names{"lm_head: tied to another tensor", "model.layers.10.mlp.down_proj: --keep",
                                  "model.norm: norm", "x: no weight of a module"});
  CHECK(model.written() == Names{"model.layers.10.mlp.down_proj.weight", "model.layers.2.mlp.up_proj.weight",
                                 "model.layers.2.mlp.up_proj.weight_scale", "model.layers.2.mlp.up_proj.bias",
                                 "model.norm.weight", "x"});
  CHECK(plan.config.find(R"("ignore": [
    "lm_head",
    "model.layers.10.mlp.down_proj"
  ])") != std::string::npos);
  CHECK(unmatched_keeps(plan, {Glob("*layers.10.*"), Glob("*.weight")}) ==
        Names{"--keep '*.weight' matches no module"});
}

TEST_CASE("quantise: whole parts of names tell what stays") {
  for (const char* module :
       {"lm_head", "model.embed_tokens", "transformer.wte", "score", "model.layers.0.mlp.gate",
        "model.layers.0.block_sparse_moe.gate", "model.layers.1.mlp.shared_expert_gate",
        "l.feed_forward.router", "model.visual.blocks.0.attn.qkv", "vision_tower.x.fc1",
        "multi_modal_projector.linear_1", "l.linear_attn.conv1d", "v_head.summary", "shared", "a.q_norm"}) {
    CAPTURE(module);
    CHECK_FALSE(left_plain_as(module, "llama").empty());
  }
  for (const char* module :
       {"model.layers.0.mlp.gate_proj", "l.self_attn.gate", "l.mlp.experts.0.up_proj", "l.scores",
        "h.0.attn.c_attn", "l.router_proj", "l.mlp.shared.up_proj", "l.visualizer"}) {
    CAPTURE(module);
    CHECK(left_plain_as(module, "llama").empty());
  }
  CHECK_FALSE(left_plain_as("h.0.attn.c_attn", "gpt2").empty());
}

TEST_CASE("quantise: what does not fit is refused by name, unless it is kept") {
  Model odd;
  odd.add("a.weight", {64, 48}).add("b.weight", {64, 64});
  CHECK(kind(odd, QuantScheme::kMxfp4) == ErrorKind::kRefused);
  CHECK_FALSE(kind(odd, QuantScheme::kMxfp4, {"a"}));
  CHECK_FALSE(kind(odd, QuantScheme::kNvfp4));
  CHECK(kind(odd, QuantScheme::kFp8) == ErrorKind::kRefused);  // nothing of it is whole blocks
  Model wide;
  wide.add("a.weight", {64, 64}, Dtype::kF64);
  CHECK(kind(wide, QuantScheme::kFp8Dynamic) == ErrorKind::kRefused);
  Model learned;
  learned.add("a.weight", {64, 64}).add("a.scales", {64});
  CHECK_FALSE(kind(learned, QuantScheme::kFp8Dynamic));
  Model twice;
  twice.add("a.weight", {64, 64}).add("a.weight_packed", {64});
  CHECK(kind(twice, QuantScheme::kMxfp4) == ErrorKind::kRefused);
  Model again;
  again.add("a.weight", {64, 64}, Dtype::kF8E4M3).add("a.weight_scale", {64, 1});
  CHECK(kind(again, QuantScheme::kFp8Dynamic) == ErrorKind::kRefused);
}

TEST_CASE("quantise: fp8 takes whole blocks, and names the others") {
  Model model;
  model.add("a.weight", {128, 256}).add("b.weight", {100, 128});
  const QuantizePlan plan = model.plan(QuantScheme::kFp8);
  CHECK(plan.modules.size() == 1);
  CHECK(plan.config.find(R"("modules_to_not_convert": [
    "b",
    "lm_head"
  ])") != std::string::npos);
}

TEST_CASE("quantise: stacks of experts are taken apart first") {
  Model model;
  model.add("l.mlp.experts.gate_up_proj", {2, 64, 32}).add("l.mlp.experts.down_proj", {2, 32, 32});
  CHECK(kind(model, QuantScheme::kMxfp4) == std::nullopt);
  CHECK(model.written().size() == 12);
  CHECK(model.written()[2] == "l.mlp.experts.0.up_proj.weight_packed");
  CHECK(model.tensor("l.mlp.experts.0.up_proj.weight_packed").shape == std::vector<std::uint64_t>{32, 16});
  CHECK(error_of([&] { model.plan(QuantScheme::kMxfp4, {}, NamesOptions::Mode::kAsIs); }) ==
        ErrorKind::kRefused);
  model.add("b.weight", {32, 32});
  const QuantizePlan kept = model.plan(QuantScheme::kMxfp4, {"*.experts.*"}, NamesOptions::Mode::kAsIs);
  CHECK(kept.modules.size() == 1);
  CHECK(model.written()[0] == "l.mlp.experts.gate_up_proj");
  CHECK(left_names(kept)[0] == "l.mlp.experts.down_proj: --keep");
  CHECK(kept.config.find("l.mlp.experts.1.up_proj") != std::string::npos);  // what loaders ask for
  // Both stacks are split or none.
  const QuantizePlan half = model.plan(QuantScheme::kMxfp4, {"*.down_proj"});
  CHECK(half.modules.size() == 5);
  CHECK(left_names(half)[0] == "l.mlp.experts.0.down_proj: --keep");
  CHECK(model.plan(QuantScheme::kMxfp4, {"*.experts.*"}).left.size() == 7);
  CHECK(error_of([&] { model.plan(QuantScheme::kMxfp4, {"*.down_proj"}, NamesOptions::Mode::kAsIs); }) ==
        ErrorKind::kRefused);

  Model transposed;
  transposed.add("l.experts.gate_up_proj", {2, 32, 128}).add("l.experts.down_proj", {2, 64, 32});
  CHECK(kind(transposed, QuantScheme::kMxfp4) == ErrorKind::kRefused);
  CHECK(kind(transposed, QuantScheme::kMxfp4, {"*.gate_proj", "*.up_proj"}) == ErrorKind::kRefused);
  transposed.add("b.weight", {32, 32});
  const Names all = {"*.gate_proj", "*.up_proj", "*.down_proj"};
  CHECK(unmatched_keeps(transposed.plan(QuantScheme::kMxfp4, all), {all.begin(), all.end()}).empty());
  CHECK(transposed.written()[0] == "l.experts.gate_up_proj");
  Model torn;
  torn.add("l.experts.gate_up_proj", {2, 32, 128}).add("l.experts.down_proj", {3, 64, 32});
  CHECK(kind(torn, QuantScheme::kMxfp4) == ErrorKind::kMalformed);
  Model crowd;
  crowd.add("l.experts.down_proj", {1U << 20, 1, 1});
  CHECK(kind(crowd, QuantScheme::kFp8Dynamic) == ErrorKind::kMalformed);
  Model llama4("llama4_text");
  llama4.add("l.feed_forward.experts.down_proj", {2, 64, 64});
  CHECK(kind(llama4, QuantScheme::kMxfp4) == ErrorKind::kRefused);
}

TEST_CASE("quantise: the config names what stays as transformers calls it in memory, too") {
  Model model("qwen2_5_vl");
  model.add("visual.blocks.0.attn.qkv.weight", {64, 64}).add("model.embed_tokens.weight", {64, 64});
  model.add("model.layers.0.mlp.up_proj.weight", {128, 128});
  CHECK(model.plan(QuantScheme::kFp8Dynamic).plain ==
        Names{"lm_head", "model.embed_tokens", "model.visual.blocks.0.attn.qkv", "visual.blocks.0.attn.qkv"});
  CHECK(model.plan(QuantScheme::kFp8).plain.size() == 3);
}

TEST_CASE("quantise: fused modules of NVFP4 read each other") {
  const auto sources = [](const Model& model, const std::string& module) {
    return model.tensor(module + ".weight_global_scale").layout->tensors.size();
  };
  Model model;
  for (const char* module :
       {"l.0.self_attn.q_proj", "l.0.self_attn.k_proj", "l.0.self_attn.v_proj", "l.0.mlp.gate_proj",
        "l.0.mlp.up_proj", "l.0.e.0.w1", "l.0.e.0.w3", "l.0.mlp.experts.0.gate_proj",
        "l.0.mlp.experts.0.up_proj", "l.1.self_attn.q_proj", "l.1.self_attn.k_proj"})
    model.add(std::string(module) + ".weight", {16, 32});
  model.plan(QuantScheme::kNvfp4);
  CHECK(sources(model, "l.0.self_attn.k_proj") == 3);
  CHECK(sources(model, "l.0.mlp.up_proj") == 2);
  CHECK(sources(model, "l.0.e.0.w3") == 2);
  CHECK(sources(model, "l.0.mlp.experts.0.up_proj") == 1);
  CHECK(sources(model, "l.1.self_attn.q_proj") == 1);  // a set that lacks one is none
  model.plan(QuantScheme::kNvfp4, {"*.v_proj"});
  CHECK(sources(model, "l.0.self_attn.q_proj") == 2);  // those that are quantised
}

TEST_CASE("quantise: names of schemes") {
  CHECK(parse_quant_scheme("nvfp4") == QuantScheme::kNvfp4);
  CHECK(parse_quant_scheme("nvfp4a16") == QuantScheme::kNvfp4);
  CHECK(parse_quant_scheme("FP8_Dynamic") == QuantScheme::kFp8Dynamic);
  CHECK(parse_quant_scheme("MXFP4") == QuantScheme::kMxfp4);
  CHECK(parse_quant_scheme("fp8") == QuantScheme::kFp8);
  CHECK(error_of([] { parse_quant_scheme("NVFP4"); }) == ErrorKind::kRefused);
  CHECK(error_of([] { parse_quant_scheme("FP8"); }) == ErrorKind::kRefused);
  CHECK(error_of([] { parse_quant_scheme("w4a16"); }) == ErrorKind::kUsage);
}
