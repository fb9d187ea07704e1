// SPDX-License-Identifier: Apache-2.0
#include "model/components.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

std::vector<std::string> paths_of(const ComponentNames& names) {
  std::vector<std::string> paths;
  for (const ComponentName& component : names.folders) paths.push_back(component.path);
  return paths;
}

ComponentNames names_in(const char* file, const std::string& text) {
  const TempFolder folder;
  put(folder / file, text);
  return read_component_names(scan_folder(folder.path()));
}

std::string module(const std::string& path, const std::string& type) {
  return R"([{"path": ")" + path + R"(", "type": ")" + type + R"("}])";
}

}  // namespace

TEST_CASE("components: a folder without files of names is a model of its own") {
  const ComponentNames names = names_in("config.json", "{}");
  CHECK(names.has_top);
  CHECK(names.file.empty());
  CHECK(names.folders.empty());
}

TEST_CASE("components: modules of sentence-transformers") {
  const ComponentNames top = names_in("modules.json", module("", "custom_st.Transformer"));
  CHECK(top.has_top);
  CHECK(top.folders.empty());
  CHECK(top.code == std::vector<std::string>{"custom_st.py"});
  const ComponentNames below =
      names_in("modules.json", module("./0_Transformer/", "sentence_transformers.models.Transformer"));
  CHECK_FALSE(below.has_top);
  CHECK(paths_of(below) == std::vector<std::string>{"0_Transformer"});
  CHECK(below.code.empty());
  CHECK(may_be_absent({"2_Normalize", "sentence_transformers.models.Normalize", "modules.json"}));
  CHECK_FALSE(may_be_absent(below.folders.front()));
  for (const char* text : {"{}", "[1]", R"([{"path": 1, "type": "x"}])", "["})
    CHECK(error_of([&] { names_in("modules.json", text); }) == ErrorKind::kMalformed);
}

TEST_CASE("components: routers name further modules") {
  const TempFolder folder;
  put(folder / "modules.json", module("", "sentence_transformers.models.Asym"));
  put(folder / "config.json",
      R"({"types": {"query-1_Dense": "sentence_transformers.models.Dense"}, "structure": {}})");
  const ComponentNames names = read_component_names(scan_folder(folder.path()));
  CHECK_FALSE(names.has_top);
  CHECK(paths_of(names) == std::vector<std::string>{"query-1_Dense"});
}

TEST_CASE("components: pipelines of diffusers") {
  const TempFolder folder;
  for (const char* name : {"controlnet", "controlnet_1", "controlnet_2", "controlnet_4"})
    REQUIRE(::mkdir((folder / name).c_str(), 0777) == 0);
  put(folder / "model_index.json",
      R"({"_class_name": ["my_pipe", "P"], "_name": ["a", "b"], "unet": ["diffusers", "U"], "n": 3, "checker": [null, null],)"
      R"("list": ["only"], "controlnet": ["diffusers", "MultiControlNetModel"], "unet": ["diffusers", "V"]})");
  const ComponentNames names = read_component_names(scan_folder(folder.path()));
  CHECK_FALSE(names.has_top);
  CHECK(paths_of(names) == std::vector<std::string>{"unet", "controlnet", "controlnet_1", "controlnet_2"});
  CHECK(names.code == std::vector<std::string>{"my_pipe.py"});
}

TEST_CASE("components: paths that leave the folder are refused") {
  for (const char* path :
       {"..", "../x", "/etc", "a/../../b", "a//b", "C:x", "a\\\\b", "hf://x", "%2e%2e/x"}) {
    CAPTURE(path);
    CHECK(error_of([&] { names_in("modules.json", module(path, "x.y.Dense")); }) == ErrorKind::kMalformed);
    CHECK(error_of([&] {
            names_in("model_index.json", R"({")" + std::string(path) + R"(": ["diffusers", "U"]})");
          }) == ErrorKind::kMalformed);
  }
  const TempFolder outside, folder;
  REQUIRE(::symlink(outside.path().c_str(), (folder / "link").c_str()) == 0);
  put(folder / "modules.json", module("link", "x.y.Dense"));
  CHECK(error_of([&] { read_component_names(scan_folder(folder.path())); }) == ErrorKind::kMalformed);
}

TEST_CASE("components: weights keep the name and variant of diffusers") {
  const auto stem = [](const char* name) {
    return component_stem({{name}, std::string_view(name).ends_with(".json"), false, "chosen"});
  };
  CHECK(stem("diffusion_pytorch_model.safetensors") == "diffusion_pytorch_model");
  CHECK(stem("diffusion_pytorch_model.fp16.bin") == "diffusion_pytorch_model.fp16");
  CHECK(stem("diffusion_pytorch_model.safetensors.index.fp16.json") == "diffusion_pytorch_model.fp16");
  CHECK(stem("diffusion_pytorch_model.bin.index.json") == "diffusion_pytorch_model");
  CHECK(stem("pytorch_model.fp16.bin") == "model.fp16");
  CHECK(stem("pytorch_model.bin") == "model");
  CHECK(stem("model-00001-of-00002.safetensors") == "model");
}
