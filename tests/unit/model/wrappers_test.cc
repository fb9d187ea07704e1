// SPDX-License-Identifier: Apache-2.0
#include "model/wrappers.h"

#include <doctest/doctest.h>

#include "base/text.h"
#include "model/placeholders.h"

using namespace mu;

namespace {

std::vector<Tensor> tensors_called(const std::vector<std::string>& names) {
  std::vector<Tensor> tensors;
  for (const std::string& name : names) tensors.push_back({name, Dtype::kF32, {1}, 0, 0, 4});
  return tensors;
}

// The names afterwards, and what was said.
struct Outcome {
  std::string names, said;
};
Outcome outcome(const std::vector<std::string>& names, const WrapperRules& rules = {}) {
  Weights weights;
  weights.tensors = tensors_called(names);
  const RemovedWrappers removed = remove_wrapper_names(weights, rules);
  std::vector<std::string> left;
  for (std::size_t i = 0; i < names.size(); ++i) {
    left.push_back(weights.tensors[i].name);
    const auto listed = removed.listed.find(left.back());
    CHECK((listed == removed.listed.end() ? left.back() : listed->second) == names[i]);
  }
  return {join(left, " "), join(removed.notes, "; ")};
}

}  // namespace

TEST_CASE("wrappers: names are freed of what wrappers add") {
  using Names = std::vector<std::string>;
  for (const Names& names :
       {Names{"a.w", "b.w"}, Names{"_orig_mod.a.w", "b.w"}, Names{"module.a.w", "module.b.w"},
        Names{"_orig_mod.module.a.w", "_orig_mod.module.b.w"},
        Names{"module._orig_mod.a.w", "module._orig_mod.b.w"},
        Names{"module.module.a.w", "module.module.b.w"}, Names{"_forward_module.a.w", "_forward_module.b.w"},
        Names{"_forward_module.module.a.w", "_forward_module.module.b.w"},
        Names{"base_model.model.a.w", "base_model.model.b.w"},
        Names{"module.base_model.model.a.w", "module.base_model.model.b.w"},
        Names{"a._fsdp_wrapped_module.w", "_fsdp_wrapped_module.b._checkpoint_wrapped_module._orig_mod.w"}}) {
    CAPTURE(names);
    CHECK(outcome(names).names == "a.w b.w");
    CHECK(outcome(names).said.empty() == (names.front() == "a.w"));
  }
  CHECK(outcome({"module.module.a", "module.module.b"}).said == "'module.module.' removed from 2 names");
}

TEST_CASE("wrappers: names stay where a wrapper may be something else, and the reason is said") {
  const Outcome some = outcome({"module.a", "b"});
  CHECK(some.names == "module.a b");
  CHECK(some.said == "'module.' stays at the beginning of 1 of 2 names: the others begin without it");
  const Outcome twins = outcome({"_orig_mod.a", "a", "x._fsdp_wrapped_module.b"});
  CHECK(twins.names == "_orig_mod.a a x.b");
  CHECK(twins.said.find("'_orig_mod.a' and 'a' would have one name") != std::string::npos);
  for (const char* adapter : {"q.lora_A.weight", "score.modules_to_save.default.weight", "k.ia3_l",
                              "q.base_layer.weight", "score.original_module.weight"}) {
    CAPTURE(adapter);
    const std::string name = std::string("module.") + adapter;
    const Outcome run = outcome({"module.a", name});
    CHECK(run.names == "module.a " + name);
    CHECK(run.said.find("'" + name + "' is a tensor of an adapter") != std::string::npos);
  }
  CHECK(outcome({"model.a", "model.b"}).said.empty());
  CHECK(outcome({"x_orig_mod.a", "module", "module."}).names == "x_orig_mod.a module module.");
  CHECK(outcome({"", "_orig_mod."}).names == " _orig_mod.");
  CHECK(outcome({}).said.empty());
}

TEST_CASE("wrappers: an adapter keeps the beginning of its names without a word") {
  const std::vector<std::string> names = {"base_model.model.q.lora_A.weight",
                                          "base_model.model.q.lora_B.weight"};
  CHECK(outcome(names).said.empty());
  CHECK(outcome({"base_model.model.score.weight"}, {.of_adapter = true}).said.empty());
  CHECK(outcome({"base_model.model.a", "base_model.model.q.lora_A.weight"}).said.find("adapter") !=
        std::string::npos);
  CHECK(outcome({"module._orig_mod.a"}, {.leading = false}).names == "module.a");
  CHECK(outcome({"base_model.model._orig_mod.q.lora_A.weight"}).names == "base_model.model.q.lora_A.weight");
}

TEST_CASE("wrappers: the time grows with the names, not with how often a wrapper is in them") {
  for (const char* wrapper : {"module.", "_orig_mod.", "module._forward_module."}) {
    std::string name;
    for (int i = 0; i < 200'000; ++i) name += wrapper;
    CHECK(outcome({name + "a", name + "b"}).names == "a b");
  }
}

TEST_CASE("wrappers: notes cut long names, and what led all names is one note") {
  std::string name;
  for (int i = 0; i < 100'000; ++i) name += "module._forward_module.";
  const Outcome led = outcome({name + "a", name + "b"});
  CHECK(led.said.starts_with("'module._forward_module."));
  CHECK(led.said.ends_with("_forward_module.' removed from 2 names"));
  CHECK(led.said.size() < 200);
  CHECK(outcome({"_orig_mod." + name + "a", name + "a", "b"}).said.size() < 500);
  CHECK(outcome({name + "lora_A.weight"}).said.size() < 200);
}

TEST_CASE("placeholders: counted, and only where weights should be") {
  std::vector<Tensor> tensors = tensors_called({"a.weight", "b.weight", "bias"});
  CHECK_FALSE(Placeholders(tensors).found());
  CHECK_FALSE(Placeholders(std::vector<Tensor>{}).found());
  tensors[2].shape = {0};
  CHECK_FALSE(Placeholders(tensors).found());
  tensors[0].shape = {0, 4};
  CHECK_FALSE(Placeholders(tensors).found());
  tensors[0].shape = {0};
  CHECK(Placeholders(tensors).found());
  CHECK(Placeholders(tensors).text() == "2 of 3 tensors have shape [0]");
}
