// SPDX-License-Identifier: Apache-2.0
// Folders, configs and inputs beyond the common case: every name trainers write, every way to name weights.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/folder.h"
#include "model/input.h"
#include "model/roles.h"
#include "model/tied.h"
#include "os/remove_tree.h"
#include "testing.h"
#include "weights/open/open.h"

using namespace mu;
using namespace mu::testing;
using namespace std::string_literals;

namespace {

std::string u8_file(const std::vector<std::string>& names) {
  std::string header = "{";
  for (std::size_t i = 0; i < names.size(); ++i) {
    header += (i > 0 ? ",\"" : "\"") + names[i] + R"(":{"dtype":"U8","shape":[1],"data_offsets":[)" +
              std::to_string(i) + "," + std::to_string(i + 1) + "]}";
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return safetensors(header, names.size());
}

void make_folder(const std::string& path) {
  REQUIRE(::mkdir(path.c_str(), 0777) == 0);
}

std::string message_of(auto action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("roles: the names that trainers, savers and loggers use") {
  const std::pair<const char*, FileRole> files[] = {
      {"model.safetensors", FileRole::kWeights},
      {"adapter_model.safetensors", FileRole::kWeights},
      {"model.fp16.safetensors", FileRole::kWeights},
      {"model.safetensors.index.fp16.json", FileRole::kWeightsIndex},
      {"adapter_config.json", FileRole::kAdapterConfig},
      {"generation_config.json", FileRole::kGenerationConfig},
      {"tokenizer.model.v3", FileRole::kTokenizer},
      {"tokenizer.model.vx", FileRole::kOther},
      {"added_tokens.json", FileRole::kTokenizer},
      {"merges.txt", FileRole::kTokenizer},
      {"tekken.json", FileRole::kTokenizer},
      {"preprocessor_config.json", FileRole::kProcessor},
      {"chat_template.jinja", FileRole::kChatTemplate},
      {"README.md", FileRole::kDocument},
      {"NOTICE", FileRole::kDocument},
      {"optimizer.pt", FileRole::kOptimizer},
      {"optimizer_1.bin", FileRole::kOptimizer},
      {"rank0-of-2-optimizer.pt", FileRole::kOptimizer},
      {"rng_state.pth", FileRole::kRng},
      {"random_states_0.pkl", FileRole::kRng},
      {"latest", FileRole::kRankHelper},
      {"pytorch_model.bin.index.json", FileRole::kTorchWeights},
      {"pytorch_model-00001-of-00002.bin", FileRole::kTorchWeights},
      {"consolidated.00.pth", FileRole::kTorchWeights},
      {"model.onnx", FileRole::kOtherWeights},
      {"model.Q4_K_M.gguf", FileRole::kOtherWeights},
      {"events.out.tfevents.1700000000.host.1.0", FileRole::kLog},
      {"all_results.json", FileRole::kLog},
      {"checkpoint-is-incomplete.txt", FileRole::kIncomplete},
      {".gitattributes", FileRole::kHidden},
      {".safetensors", FileRole::kHidden},
      {"checkpoint-500", FileRole::kOther},  // as a file
      {"config.json.bak", FileRole::kOther},
      {"Config.json", FileRole::kOther},
      {"", FileRole::kOther},
  };
  for (const auto& [name, role] : files) {
    CAPTURE(std::string(name));
    CHECK(role_name(role_of(name, false)) == role_name(role));
  }
  const std::pair<const char*, FileRole> folders[] = {
      {"checkpoint-0", FileRole::kCheckpoint},
      {"checkpoint-99999999999999999999", FileRole::kCheckpoint},
      {"global_step1000", FileRole::kRankState},
      {"pytorch_model_fsdp_0", FileRole::kRankState},
      {"optimizer_0", FileRole::kOptimizer},
      {"runs", FileRole::kLog},
      {"wandb", FileRole::kLog},
      {".git", FileRole::kHidden},
      {"model.safetensors", FileRole::kOther},
      {"additional_chat_templates", FileRole::kChatTemplate},
  };
  for (const auto& [name, role] : folders) {
    CAPTURE(std::string(name));
    CHECK(role_name(role_of(name, true)) == role_name(role));
  }
}

TEST_CASE("roles: what is published is exactly what a model is used with") {
  for (int i = 0; i <= static_cast<int>(FileRole::kOther); ++i) {
    const auto role = static_cast<FileRole>(i);
    CAPTURE(std::string(role_name(role)));
    CHECK(is_published(role) == (role <= FileRole::kDocument));
  }
  for (const FileRole secret : {FileRole::kTrainingArgs, FileRole::kTrainerState, FileRole::kHidden,
                                FileRole::kLog, FileRole::kOther, FileRole::kCode, FileRole::kRng}) {
    CHECK_FALSE(is_published(secret));
  }
}

TEST_CASE("folder: a scan tells files from folders and leaves out anything else") {
  const TempFolder folder;
  put(folder / "config.json", "{}");
  put(folder / "b", "12345");
  make_folder(folder / "adapter");
  put(folder / "adapter/adapter_model.safetensors", "x");
  make_folder(folder / "plain");
  make_folder(folder / "checkpoint-7");
  REQUIRE(::symlink("none", (folder / "broken").c_str()) == 0);
  REQUIRE(::symlink("b", (folder / "link").c_str()) == 0);
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0666) == 0);
  const Folder scanned = scan_folder(folder.path());
  std::string seen;
  for (const FolderFile& file : scanned.files)
    seen += file.name + (file.is_folder ? "/" : "") + "=" + std::string(role_name(file.role)) + " ";
  CHECK(seen ==
        "adapter/=adapter b=other checkpoint-7/=checkpoint config.json=config link=other plain/=other ");
  CHECK(scanned.has("b"));
  CHECK_FALSE(scanned.has("c"));
  CHECK_FALSE(scanned.has("broken"));
  CHECK(scanned.find("link")->size == 5);
  CHECK(scanned.find("plain")->size == 0);
  CHECK(scanned.path_of("b") == folder / "b");
  CHECK(error_of([&] { scan_folder(folder / "none"); }) == ErrorKind::kIo);
}

TEST_CASE("folder: which weights are chosen, and what to do when there are none") {
  struct Row {
    std::vector<const char*> files;
    const char* chosen;  // the names, or a word of the message after '!'
  };
  const Row rows[] = {
      {{"model.safetensors", "adapter_model.safetensors", "x.safetensors"}, "model.safetensors"},
      {{"model.safetensors.index.json", "model-00001-of-00001.safetensors", "x.safetensors"},
       "model.safetensors.index.json"},
      {{"adapter_model.safetensors", "x.safetensors"}, "adapter_model.safetensors"},
      {{"x.safetensors.index.json", "x-00001-of-00002.safetensors", "y.safetensors"},
       "x.safetensors.index.json"},
      {{"x-00001-of-00002.safetensors", "x-00002-of-00002.safetensors"},
       "x-00001-of-00002.safetensors x-00002-of-00002.safetensors"},
      {{"x.safetensors", "pytorch_model.bin"}, "x.safetensors"},
      {{"x-00001-of-00002.safetensors"}, "!shards are missing"},
      {{"x-00001-of-00002.safetensors", "x-00002-of-00003.safetensors"}, "!shards are missing"},
      {{"a.safetensors", "b.safetensors"}, "!several sets"},
      {{"a.safetensors.index.json", "b.safetensors.index.json"}, "!several sets"},
      {{"a.safetensors", "x-00001-of-00002.safetensors", "x-00002-of-00002.safetensors"}, "!several sets"},
      {{"pytorch_model.bin", "pytorch_model.bin.index.json", "adapter_model.bin"}, "pytorch_model.bin"},
      {{"pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin"}, "pytorch_model.bin.index.json"},
      {{"adapter_model.bin", "x.pt"}, "adapter_model.bin"},
      {{"consolidated.pth"}, "consolidated.pth"},
      {{"a.pt", "b.pt"}, "!several files"},
      {{"config.json"}, "!no weights"},
  };
  for (const Row& row : rows) {
    const TempFolder folder;
    for (const char* name : row.files) put(folder / name, "x");
    const Folder scanned = scan_folder(folder.path());
    std::string got;
    const std::string message = message_of([&] {
      for (const std::string& name : choose_weights(scanned).names) got += (got.empty() ? "" : " ") + name;
    });
    CAPTURE(std::string(row.chosen));
    if (row.chosen[0] == '!') {
      CHECK(message.find(row.chosen + 1) != std::string::npos);
      CHECK(message.starts_with(folder.path()));
    } else {
      CHECK(got == row.chosen);
      CHECK(message.empty());
    }
  }
  const TempFolder run;
  make_folder(run / "checkpoint-3");
  CHECK(message_of([&] { choose_weights(scan_folder(run.path())); }).find("checkpoint-3") !=
        std::string::npos);
}

TEST_CASE("folder: shard names give their stem, number and count") {
  const std::optional<ShardName> shard = parse_shard_name("a-b-00010-of-00011.safetensors");
  REQUIRE(shard.has_value());
  CHECK(shard->stem == "a-b");
  CHECK(shard->number == 10);
  CHECK(shard->count == 11);
  CHECK(parse_shard_name("m-100000-of-100000.safetensors")->number == 100'000);
  CHECK(parse_shard_name("a-00001-of-00002-00001-of-00002.safetensors")->stem == "a-00001-of-00002");
  for (const char* name :
       {"", "-of-", "a-0001-of-0002.safetensors", "a-00001-of-00002.bin", "a-00001-of-00002.safetensors.bak",
        "a-+0001-of-00002.safetensors", "a-00001-of-.safetensors", "a00001-of-00002.safetensors",
        "a-00001-00002.safetensors", "a-1000000-of-1000000.safetensors"}) {
    CAPTURE(std::string(name));
    CHECK_FALSE(parse_shard_name(name).has_value());
  }
}

TEST_CASE("config: facts, and what stays empty when a file does not give them") {
  const ModelConfig config = parse_model_config(
      R"({"architectures":["A","B"],"model_type":"x","tie_word_embeddings":false,"torch_dtype":"float16","dtype":"bfloat16","quantization_config":null})");
  CHECK(config.architectures == std::vector<std::string>{"A", "B"});
  CHECK(config.model_type == "x");
  CHECK(config.tie_word_embeddings == false);
  CHECK(*config.dtype() == "bfloat16");
  CHECK(*parse_model_config(R"({"torch_dtype":"float16"})").dtype() == "float16");
  const ModelConfig empty = parse_model_config("{}");
  CHECK(empty.architectures.empty());
  CHECK(empty.model_type.empty());
  CHECK_FALSE(empty.tie_word_embeddings.has_value());
  CHECK(empty.dtype() == nullptr);
  const ModelConfig odd =
      parse_model_config(R"({"architectures":7,"model_type":[],"tie_word_embeddings":"yes","dtype":5})");
  CHECK(odd.architectures.empty());
  CHECK(odd.model_type.empty());
  CHECK_FALSE(odd.tie_word_embeddings.has_value());
  CHECK(odd.dtype() == nullptr);
  for (const char* text : {"", "[]", "null", "\"{}\"", "{", "{}x"})
    CHECK(error_of([&] { parse_model_config(text); }) == ErrorKind::kMalformed);
}

TEST_CASE("config: a new dtype changes those bytes and no others, at any depth and in any layout") {
  const auto changed = [](const std::string& text) {
    return with_dtype(parse_model_config(text), "bfloat16");
  };
  const std::pair<const char*, const char*> rows[] = {
      {R"({"dtype":"float32"})", R"({"dtype":"bfloat16"})"},
      {"{\r\n\t\"torch_dtype\"  :\n \"float16\" ,\"x\":1e-06}\n\n",
       "{\r\n\t\"torch_dtype\"  :\n \"bfloat16\" ,\"x\":1e-06}\n\n"},
      {R"({"a_config":{"b_config":{"dtype":"float16","n":NaN}},"dtype":"float32","torch_dtype":"float32"})",
       R"({"a_config":{"b_config":{"dtype":"bfloat16","n":NaN}},"dtype":"bfloat16","torch_dtype":"bfloat16"})"},
      {R"({"dtype":"bfloat16","x":"é\u00e9"})", R"({"dtype":"bfloat16","x":"é\u00e9"})"},
      {R"({"dtype":"float8_e4m3fn"})", R"({"dtype":"bfloat16"})"},
      // Not a place for the dtype of the weights.
      {R"({"dtype":"auto","torch_dtype":null})", R"({"dtype":"auto","torch_dtype":null})"},
      {R"({"dtype":"int8"})", R"({"dtype":"int8"})"},
      {R"({"extra":{"dtype":"float32"}})", R"({"extra":{"dtype":"float32"}})"},
      {R"({"quantization_config":{"x_config":{"dtype":"float32"}}})",
       R"({"quantization_config":{"x_config":{"dtype":"float32"}}})"},
      {R"({"x":"dtype","y":["dtype","float32"]})", R"({"x":"dtype","y":["dtype","float32"]})"},
      {"{}", "{}"},
  };
  for (const auto& [before, after] : rows) {
    CAPTURE(std::string(before));
    CHECK(changed(before) == after);
  }
  // A shorter and a longer name, with something behind them.
  CHECK(with_dtype(parse_model_config(R"({"dtype":"float16","z":[1,2]})"), "f") ==
        R"({"dtype":"f","z":[1,2]})");
}

TEST_CASE("config: code that an auto_map names") {
  const auto files = [](const char* json) { return auto_map_files(parse_json(json).root); };
  using Names = std::vector<std::string>;
  CHECK(files(R"({"auto_map":{"A":"m.A","B":"m.B","C":"n.C"}})") == Names{"m.py", "n.py"});
  CHECK(files(R"({"auto_map":["t.Slow","u.Fast"]})") == Names{"t.py", "u.py"});
  CHECK(files(R"({"auto_map":"m.A"})") == Names{"m.py"});
  CHECK(files(R"({"auto_map":{"A":"o/r--m.A","B":null,"C":7,"D":"nodot","E":["o/r--x.Y",null,"v.W"]}})") ==
        Names{"v.py"});
  CHECK(files("{}").empty());
  CHECK(files("[]").empty());
  CHECK(files(R"({"auto_map":null})").empty());
}

TEST_CASE("config: adapters") {
  const AdapterConfig adapter = parse_adapter_config(
      R"({"peft_type":"LORA","base_model_name_or_path":"org/m","r":16,"lora_alpha":32,"target_modules":["q","v"]})");
  CHECK(adapter.peft_type == "LORA");
  CHECK(adapter.base_model == "org/m");
  CHECK(adapter.rank == 16);
  CHECK(adapter.alpha == 32.0);
  CHECK(adapter.target_modules == std::vector<std::string>{"q", "v"});
  CHECK(parse_adapter_config(R"({"target_modules":"all-linear"})").target_modules ==
        std::vector<std::string>{"all-linear"});
  const AdapterConfig bare = parse_adapter_config(R"({"r":-1,"base_model_name_or_path":null})");
  CHECK_FALSE(bare.rank.has_value());
  CHECK(bare.base_model.empty());
  CHECK(error_of([] { parse_adapter_config("nothing"); }) == ErrorKind::kMalformed);
}

TEST_CASE("input: a file, an index, a folder, several files, arrays") {
  const TempFolder folder;
  put(folder / "a.safetensors", u8_file({"a"}));
  put(folder / "b.safetensors", u8_file({"b"}));
  put(folder / "x.npy", std::string("\x93NUMPY\x01\0", 8) + "\x3A\0"s +
                            "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), } \n"s.substr(0, 58) +
                            "1");
  make_folder(folder / "m");
  put(folder / "m/model.safetensors.index.json",
      R"({"weight_map":{"a":"model-00001-of-00001.safetensors"}})");
  put(folder / "m/model-00001-of-00001.safetensors", u8_file({"a"}));
  put(folder / "m/config.json", R"({"model_type":"x"})");
  put(folder / "m/trainer_state.json", R"({"global_step":3})");

  const Input file = open_input(folder / "a.safetensors", StreamData::kCount);
  CHECK(file.weights.tensors.size() == 1);
  CHECK_FALSE(file.folder.has_value());
  CHECK(file.name == folder / "a.safetensors");
  const Input index = open_input(folder / "m/model.safetensors.index.json", StreamData::kCount);
  CHECK(index.weights.index.has_value());
  CHECK_FALSE(index.config.has_value());
  const Input whole = open_input(folder / "m", StreamData::kCount);
  CHECK(whole.weights.index.has_value());
  CHECK(whole.config->model_type == "x");
  CHECK(whole.state->global_step == 3);
  CHECK_FALSE(whole.is_adapter());
  CHECK_NOTHROW(require_sound(whole));

  const Input several =
      open_inputs({folder / "a.safetensors", folder / "b.safetensors", "deep/name=" + (folder / "x.npy")},
                  StreamData::kCount);
  REQUIRE(several.weights.tensors.size() == 3);
  CHECK(several.weights.tensors[2].name == "deep/name");
  CHECK(several.weights.tensors[2].source == 2);
  CHECK(open_inputs({"n=" + (folder / "x.npy")}, StreamData::kCount).weights.tensors.size() == 1);
  CHECK(error_of([&] { open_input(folder / "none", StreamData::kCount); }) == ErrorKind::kIo);
  CHECK(error_of([&] { open_inputs({"n=" + (folder / "none.npy")}, StreamData::kCount); }) == ErrorKind::kIo);
}

TEST_CASE("input: a broken JSON file is a finding, and unsound for packing") {
  const TempFolder folder;
  put(folder / "model.safetensors", u8_file({"a"}));
  CHECK_NOTHROW(require_sound(open_input(folder.path(), StreamData::kCount)));
  for (const char* name : {"config.json", "adapter_config.json", "trainer_state.json"}) {
    put(folder / name, "{");
    const Input input = open_input(folder.path(), StreamData::kCount);
    CHECK(input.folder_findings.count("MD-JSON") == 1);
    CHECK(input.weights.findings.list().empty());
    CHECK(error_of([&] { require_sound(input); }) == ErrorKind::kMalformed);
    CHECK(message_of([&] { require_sound(input); }).starts_with(folder / name));
    remove_tree(folder / name);
  }
}

TEST_CASE("input: weights that can't be trusted are unsound, those an index only disagrees with are not") {
  const TempFolder folder;
  put(folder / "s", u8_file({"a", "b"}));
  const auto sound = [&](const char* map) {
    put(folder / "i.json", std::string(R"({"weight_map":)") + map + "}");
    return !error_of([&] { require_sound(open_input(folder / "i.json", StreamData::kCount)); }).has_value();
  };
  CHECK(sound(R"({"a":"s","b":"s"})"));
  CHECK(sound(R"({"a":"s"})"));
  CHECK_FALSE(sound(R"({"a":"s","c":"s"})"));
  CHECK_FALSE(sound(R"({"a":"s","b":"gone"})"));
  put(folder / "s", u8_file({"a", "b"}).substr(0, 60));
  CHECK_FALSE(sound(R"({"a":"s","b":"s"})"));
}
