// SPDX-License-Identifier: Apache-2.0
#include "pack/plan.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <set>

#include "pack/replacement.h"
#include "pack/write.h"
#include "testing.h"
#include "weights/open/open.h"

using namespace mu;
using namespace mu::testing;

namespace {

// A checkpoint folder with three F32 tensors of 4, 4 and 8 bytes.
void make_checkpoint(const std::string& path, const std::string& config) {
  REQUIRE(::mkdir(path.c_str(), 0777) == 0);
  put(path + "/model.safetensors",
      safetensors(
          R"({"__metadata__":{"format":"pt","by":"me"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
          R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"c":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}   )",
          16));
  put(path + "/config.json", config);
  for (const char* name : {"tokenizer.json", "optimizer.pt", "trainer_state.json", "README.md", "x.py",
                           "used.py", "helper.py", "notes.txt"}) {
    put(path + "/" + name, std::string(name) == "trainer_state.json" ? "{\"global_step\":7}" : "text");
  }
  put(path + "/used.py", "from .helper import x\nfrom ..outside import y\n");
}

const std::string kConfig = R"({"dtype": "float32", "auto_map": {"AutoModel": "used.X"}})";

}  // namespace

TEST_CASE("plan: every file is either taken or left, with a reason") {
  const TempFolder folder;
  make_checkpoint(folder / "in", kConfig);
  const Input input = open_input(folder / "in", StreamData::kCount);
  const PackPlan plan = plan_pack(input, {}, {}, OutputKind::kFolder);
  std::set<std::string> taken;
  std::set<std::string> all = {"model.safetensors"};
  for (const GatheredFile& file : plan.files) {
    CHECK_FALSE(file.reason.empty());
    CHECK(all.insert(file.name).second);
    if (file.taken) taken.insert(file.name);
  }
  CHECK(taken == std::set<std::string>{"config.json", "tokenizer.json", "README.md", "used.py", "helper.py"});
  CHECK(all.size() == input.folder->files.size());
  PackOptions bare;
  bare.weights_only = true;
  for (const GatheredFile& file : plan_pack(input, {}, bare, OutputKind::kFolder).files)
    CHECK_FALSE(file.taken);
}

TEST_CASE("plan: shards, index and metadata as huggingface_hub writes them") {
  const TempFolder folder;
  make_checkpoint(folder / "in", kConfig);
  const Input input = open_input(folder / "in", StreamData::kCount);
  PackOptions options;
  options.max_shard_size = 8;
  options.metadata = {{"by", std::nullopt}, {"run", "7"}};
  const PackPlan plan = plan_pack(input, {}, options, OutputKind::kFolder);
  REQUIRE(plan.weights.size() == 2);
  CHECK(plan.weights[0].name == "model-00001-of-00002.safetensors");
  CHECK(plan.weights[1].prefix.find(R"({"__metadata__":{"format":"pt","run":"7"},"c":)") == 8);
  REQUIRE(plan.texts.size() == 1);
  CHECK(plan.texts[0].name == "model.safetensors.index.json");
  CHECK(plan.texts[0].text.find("\"total_size\": 16,\n    \"run\": \"7\"") != std::string::npos);
  CHECK(plan.texts[0].text.find("\"by\"") == std::string::npos);
  const PackPlan single = plan_pack(input, {}, {}, OutputKind::kFolder);
  CHECK(single.weights[0].prefix.find(R"("by":"me","format":"pt")") != std::string::npos);
}

TEST_CASE("plan: the config follows a cast") {
  const TempFolder folder;
  make_checkpoint(folder / "in", kConfig);
  const Input input = open_input(folder / "in", StreamData::kCount);
  PackOptions options;
  options.selection.dtype = Dtype::kBF16;
  const PackPlan cast = plan_pack(input, {}, options, OutputKind::kFolder);
  REQUIRE(cast.texts.size() == 1);
  CHECK(cast.texts[0].text == R"({"dtype": "bfloat16", "auto_map": {"AutoModel": "used.X"}})");
  options.selection.dtype.reset();
  options.selection.dtype_of = {{Glob("a"), Dtype::kBF16}};
  CHECK(plan_pack(input, {}, options, OutputKind::kFolder).texts.empty());
  options.selection.dtype_of = {{Glob("*"), Dtype::kF16}};
  CHECK(plan_pack(input, {}, options, OutputKind::kFolder).texts.size() == 1);
}

TEST_CASE("plan: a quantised model is not cast as a whole") {
  const TempFolder folder;
  make_checkpoint(folder / "in", R"({"quantization_config": {}})");
  const Input input = open_input(folder / "in", StreamData::kCount);
  PackOptions options;
  options.selection.dtype = Dtype::kBF16;
  CHECK(error_of([&] { plan_pack(input, {}, options, OutputKind::kFolder); }) == ErrorKind::kRefused);
  options.selection.dtype.reset();
  options.selection.dtype_of = {{Glob("*"), Dtype::kBF16}};
  CHECK_FALSE(error_of([&] { plan_pack(input, {}, options, OutputKind::kFolder); }).has_value());
}

TEST_CASE("plan: replacing a folder removes weights a loader would look for and keeps the rest") {
  const TempFolder folder;
  make_checkpoint(folder / "in", kConfig);
  const Input input = open_input(folder / "in", StreamData::kCount);
  const PackPlan plan = plan_pack(input, {}, {}, OutputKind::kFolder);
  REQUIRE(::mkdir((folder / "out").c_str(), 0777) == 0);
  for (const char* name : {"model-00001-of-00009.safetensors", "model.safetensors.index.json",
                           "pytorch_model.bin", "config.json", "mine.txt", "other.safetensors"}) {
    put((folder / "out/") + name, "old");
  }
  const Replacement replacement = plan_replacement(folder / "out", plan);
  CHECK(replacement.kept == std::vector<std::string>{"mine.txt", "other.safetensors"});
  CHECK(replacement.replaced.size() == 4);
  write_pack(plan, input, folder / "out", {.force = true, .verify = true});
  CHECK(get(folder / "out/mine.txt") == "old");
  CHECK_FALSE(exists(folder / "out/pytorch_model.bin"));
  CHECK(get(folder / "out/model.safetensors").size() == plan.weights[0].size);
  REQUIRE(::mkdir((folder / "out/.git").c_str(), 0777) == 0);
  CHECK(error_of([&] { plan_replacement(folder / "out", plan); }) == ErrorKind::kRefused);
}

TEST_CASE("write: the output is never the input itself") {
  const TempFolder folder;
  make_checkpoint(folder / "in", kConfig);
  const Input input = open_input(folder / "in", StreamData::kCount);
  const PackPlan whole = plan_pack(input, {}, {}, OutputKind::kFolder);
  const PackPlan single = plan_pack(input, {}, {}, OutputKind::kSafetensors);
  const WriteOptions force{.force = true};
  CHECK(error_of([&] { write_pack(whole, input, folder / "in", force); }) == ErrorKind::kRefused);
  CHECK(error_of([&] { write_pack(single, input, folder / "in/model.safetensors", force); }) ==
        ErrorKind::kRefused);
  const Input file = open_input(folder / "in/model.safetensors", StreamData::kCount);
  CHECK(error_of([&] {
          write_pack(plan_pack(file, {}, {}, OutputKind::kFolder), file, folder / "in", force);
        }) == ErrorKind::kRefused);
}

TEST_CASE("tied: names are dropped if the config ties them and they hold the same bytes") {
  const TempFolder folder;
  REQUIRE(::mkdir((folder / "in").c_str(), 0777) == 0);
  const std::string header =
      R"({"lm_head.weight":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"model.embed_tokens.weight":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}} )";
  const auto tied = [&](const char* config, bool same) {
    std::string file = safetensors(header, 8);
    if (!same) file.back() = 'x';
    put(folder / "in/model.safetensors", file);
    put(folder / "in/config.json", config);
    const Input input = open_input(folder / "in", StreamData::kCount);
    const FoundTies found = find_tied(input.config, input.weights);
    CHECK(found.notes.size() ==
          (std::string_view(config).find("true") != std::string_view::npos && !same ? 1U : 0U));
    return found.tied.size();
  };
  CHECK(tied(R"({"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": true})", true) == 1);
  CHECK(tied(R"({"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": true})", false) == 0);
  CHECK(tied(R"({"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": false})", true) == 0);
  CHECK(tied(R"({"architectures": ["LlamaForCausalLM"]})", true) == 0);
  CHECK(tied("{}", true) == 0);
}

TEST_CASE("plan: a tied name is dropped only if the tensor that it repeats is written") {
  const TempFolder folder;
  make_checkpoint(folder / "in", kConfig);
  const Input input = open_input(folder / "in", StreamData::kCount);
  Prepared prepared;
  prepared.tied = {{"b", "a"}};
  CHECK(plan_pack(input, prepared, {}, OutputKind::kFolder).tensor_count() == 2);
  PackOptions alone;
  alone.selection.select = {Glob("b")};
  CHECK(plan_pack(input, prepared, alone, OutputKind::kFolder).tensor_count() == 1);
}
