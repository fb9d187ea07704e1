// SPDX-License-Identifier: Apache-2.0
#include "model/folder.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "model/config.h"
#include "model/tied.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

WeightsChoice choice_of(std::initializer_list<const char*> names) {
  const TempFolder folder;
  for (const char* name : names) put(folder / name, "x");
  return choose_weights(scan_folder(folder.path()));
}

std::optional<ErrorKind> choice_error(std::initializer_list<const char*> names) {
  return error_of([&] { choice_of(names); });
}

}  // namespace

TEST_CASE("roles: files that trainers write") {
  const std::pair<const char*, FileRole> files[] = {{"config.json", FileRole::kConfig},
                                                    {"optimizer.pt", FileRole::kOptimizer},
                                                    {"optimizer.bin", FileRole::kOptimizer},
                                                    {"scheduler.pt", FileRole::kScheduler},
                                                    {"scaler.pt", FileRole::kScaler},
                                                    {"rng_state_3.pth", FileRole::kRng},
                                                    {"training_args.bin", FileRole::kTrainingArgs},
                                                    {"trainer_state.json", FileRole::kTrainerState},
                                                    {"pytorch_model.bin", FileRole::kTorchWeights},
                                                    {"model-00001-of-00002.safetensors", FileRole::kWeights},
                                                    {"model.safetensors.index.json", FileRole::kWeightsIndex},
                                                    {"spiece.model", FileRole::kTokenizer},
                                                    {"qwen.tiktoken", FileRole::kTokenizer},
                                                    {"spm.model", FileRole::kTokenizer},
                                                    {"target_vocab.json", FileRole::kTokenizer},
                                                    {"tokenizer.4.0.0.json", FileRole::kTokenizer},
                                                    {"speaker_embeddings_path.json", FileRole::kProcessor},
                                                    {"chat_template.jinja", FileRole::kChatTemplate},
                                                    {"modules.json", FileRole::kConfig},
                                                    {"sentence_xlm-roberta_config.json", FileRole::kConfig},
                                                    {"LICENSE.txt", FileRole::kDocument},
                                                    {"zero_to_fp32.py", FileRole::kRankHelper},
                                                    {"modeling_x.py", FileRole::kCode},
                                                    {".gitattributes", FileRole::kHidden},
                                                    {"notes.txt", FileRole::kOther}};
  for (const auto& [name, role] : files) {
    CAPTURE(name);
    CHECK(role_name(role_of(name, false)) == role_name(role));
  }
  CHECK(role_of("checkpoint-40", true) == FileRole::kCheckpoint);
  for (const char* name :
       {"checkpoint-", "checkpoint-04", "checkpoint-4x", "checkpoint-4-old", "tmp-checkpoint-4"}) {
    CHECK(role_of(name, true) == FileRole::kOther);
  }
  CHECK(role_of("global_step40", true) == FileRole::kRankState);
  CHECK(role_of("qformer_tokenizer", true) == FileRole::kTokenizer);
  CHECK(role_of("language_model", true) == FileRole::kProcessor);
  CHECK(role_of("tokenizer.json", true) == FileRole::kOther);
  for (int role = 0; role <= static_cast<int>(FileRole::kOther); ++role) {
    const auto each = static_cast<FileRole>(role);
    CHECK_FALSE(role_name(each).empty());
    CHECK_FALSE(why_left(each).empty());
  }
}

TEST_CASE("folder: weights are chosen as loaders do") {
  CHECK(choice_of({"model.safetensors", "model.safetensors.index.json"}).names[0] == "model.safetensors");
  CHECK(choice_of({"model.safetensors.index.json", "adapter_model.safetensors"}).is_index);
  CHECK(choice_of({"adapter_model.safetensors", "optimizer.pt"}).is_adapter);
  CHECK(choice_of({"adapter_model.safetensors"}).stem == "adapter_model");
  CHECK(choice_of({"diffusion_pytorch_model.safetensors"}).stem == "diffusion_pytorch_model");
  CHECK(choice_of({"diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors"})
            .names[0] == "diffusion_pytorch_model.safetensors");
  CHECK(choice_of({"diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.bin"}).stem ==
        "diffusion_pytorch_model");
  CHECK(choice_of({"pytorch_model.bin", "model.fp16.safetensors"}).names[0] == "pytorch_model.bin");
  CHECK(choice_of({"model.fp16.safetensors"}).stem == "model.fp16");
  const WeightsChoice set = choice_of({"m-00002-of-00002.safetensors", "m-00001-of-00002.safetensors"});
  CHECK(set.names.size() == 2);
  CHECK(set.stem == "m");
  CHECK(choice_error({"a.safetensors", "b.safetensors"}) == ErrorKind::kMalformed);
  CHECK(choice_error({"m-00001-of-00002.safetensors"}) == ErrorKind::kMalformed);
  CHECK(choice_error({}) == ErrorKind::kMalformed);
}

TEST_CASE("folder: shard names") {
  CHECK(parse_shard_name("model-00002-of-00003.safetensors")->number == 2);
  CHECK(parse_shard_name("model-00002-of-00003.safetensors")->stem == "model");
  for (const char* name :
       {"model.safetensors", "model-2-of-3.safetensors", "model-00002-of-0000x.safetensors",
        "-of-00003.safetensors", "00001-of-00002.safetensors"}) {
    CAPTURE(name);
    CHECK_FALSE(parse_shard_name(name).has_value());
  }
}

TEST_CASE("config: the dtype changes and no other byte") {
  const std::string text =
      "{\n \"torch_dtype\":\"float32\", \"x\": 1e-06,\n \"text_config\": {\"dtype\": \"float32\"},"
      " \"quantization_config\": {\"dtype\": \"float32\"}, \"dtype\": null }\n";
  const ModelConfig config = parse_model_config(text);
  CHECK(with_dtype(config, "bfloat16") ==
        "{\n \"torch_dtype\":\"bfloat16\", \"x\": 1e-06,\n \"text_config\": {\"dtype\": \"bfloat16\"},"
        " \"quantization_config\": {\"dtype\": \"float32\"}, \"dtype\": null }\n");
  CHECK(error_of([] { parse_model_config("[]"); }) == ErrorKind::kMalformed);
}

TEST_CASE("config: files that an auto_map names") {
  const JsonDocument document = parse_json(
      R"({"auto_map":{"AutoConfig":"configuration_x.XConfig","AutoTokenizer":["tokenization_x.X",null],"AutoModel":"me/repo--modeling_x.X"}})");
  CHECK(auto_map_files(document.root) == std::vector<std::string>{"configuration_x.py", "tokenization_x.py"});
}

TEST_CASE("config: values are replaced and added, the rest stays") {
  CHECK(with_config_edits(R"({"r": 8, "x": [1,  2]})", {{{"r"}, "2"}, {{"y"}, "\"z\""}}) ==
        "{\n  \"y\": \"z\",\"r\": 2, \"x\": [1,  2]}");
  CHECK(with_config_edits("{}", {{{"y"}, "1"}}) == "{\n  \"y\": 1\n}");
  CHECK(with_config_edits(R"({"t": {"v": 1}, "v": 1})", {{{"t", "v"}, "2"}}) == R"({"t": {"v": 2}, "v": 1})");
  CHECK(with_config_edits(R"({"t": {}})", {{{"t", "v"}, "2"}}) == "{\"t\": {\n    \"v\": 2\n  }}");
  CHECK(with_config_edits(R"({"t": 3})", {{{"t", "v"}, "2"}, {{"u", "v"}, "2"}}) == R"({"t": 3})");
  CHECK(with_config_edits(R"({"t": {"v": 1, "w": 2}, "v": 1})", {{{"t", "v"}, std::nullopt}}) ==
        R"({"t": { "w": 2}, "v": 1})");
  CHECK(with_config_edits(R"({"t": {"v": 1}})", {{{"u", "v"}, std::nullopt}}) == R"({"t": {"v": 1}})");
}
