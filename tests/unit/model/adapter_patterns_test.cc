// SPDX-License-Identifier: Apache-2.0
#include "model/adapter_patterns.h"

#include <doctest/doctest.h>

#include "base/error.h"

using namespace mu;

namespace {

AdapterPatterns patterns_of(const std::string& members) {
  return parse_adapter_patterns(parse_json("{" + members + "}").root);
}

std::string fault_of(const std::string& members) {
  try {
    (void)patterns_of(members);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kMalformed);
    return error.message();
  }
  return "";
}

}  // namespace

TEST_CASE("adapter patterns: the first key that matches the end of a name wins, in the order of the file") {
  struct Row {
    const char* keys;
    const char* module;
    double expected;  // 8: none matches
  };
  // Expected values from get_pattern_key of PEFT 0.21.2.
  const Row rows[] = {
      {R"("q_proj": 1)", "model.layers.0.q_proj", 1},
      {R"("q_proj": 1)", "q_proj", 1},
      {R"("q_proj": 1)", "model.xq_proj", 8},
      {R"("q_proj": 1)", "model.q_proj.x", 8},
      {R"("q_proj": 1, "layers.0.q_proj": 2)", "model.layers.0.q_proj", 1},
      {R"("layers.0.q_proj": 2, "q_proj": 1)", "model.layers.0.q_proj", 2},
      {R"("q_proj": 1, "v": 2, "q_proj": 3)", "model.q_proj", 3},
      {R"("o.proj": 1)", "model.o_proj", 1},
      {R"("o.proj": 1)", "o\nproj", 8},
      {R"("layers.1.q": 1)", "model.layers.11.q", 8},
      {R"("layers\\.\\d+\\.self_attn\\.q_proj": 1)", "model.layers.10.self_attn.q_proj", 1},
      {R"("layers\\.[0-3]\\..*": 1)", "model.layers.2.mlp.up_proj", 1},
      {R"("layers\\.[0-3]\\..*": 1)", "model.layers.4.mlp.up_proj", 8},
      {R"("(k|v)_proj": 1)", "model.v_proj", 1},
      {R"("k_proj|v_proj": 1)", "model.v_proj", 1},
      {R"("^model.*": 1)", "model.v_proj", 1},
      {R"("^q_proj": 1)", "model.q_proj", 8},
      {R"(".*q_proj": 1)", "model.xq_proj", 1},
      {R"(".*?a+": 1)", "model.xa", 1},
      {R"(".*x|b": 1)", "model.b", 1},
      {R"j(".*(x|b)": 1)j", "model.xb", 1},
      {R"j(".*\\.(x|b)": 1)j", "model.xb", 8},
      {R"(".*a)|(b": 1)", "model.a", 1},
      {R"(".*(a)\\3": 1)", "model.aa", 1},
      {R"("*": 1)", "", 0},
      {R"("caf\u00e9.": 1)", "caf\u00e9\u00e9", 1},
      {R"("x.": 1)", "x\u00e9", 1},
      {R"("": 1)", "model.", 1},
      {R"("a)|(b": 1)", "bcd", 8},
      {R"("a)|(b": 1)", "b", 1},
  };
  for (const Row& row : rows) {
    CAPTURE(row.keys);
    CAPTURE(row.module);
    const std::string member = "\"rank_pattern\": {" + std::string(row.keys) + "}";
    if (row.expected == 0)
      CHECK(fault_of(member) == "rank_pattern: the pattern '*' can't be used: there is nothing to repeat");
    else
      CHECK(patterns_of(member).rank_of(row.module) == row.expected);
  }
  const AdapterPatterns both = patterns_of(R"("r": 4, "lora_alpha": 1.5, "alpha_pattern": {"q": 0.5})");
  CHECK(both.alpha_of("x.q") == 0.5);
  CHECK(both.alpha_of("x.k") == 1.5);
  CHECK(both.rank_of("x.q") == 4);
}

TEST_CASE("adapter patterns: modules are targets as PEFT finds them") {
  struct Row {
    const char* members;
    const char* module;
    bool expected;
  };
  // Expected values from check_target_module_exists of PEFT 0.21.2.
  const Row rows[] = {
      {R"("target_modules": ["q_proj"])", "model.layers.0.q_proj", true},
      {R"("target_modules": ["q_proj"])", "q_proj", true},
      {R"("target_modules": ["q_proj"])", "model.xq_proj", false},
      {R"("target_modules": [".*q_proj"])", "model.q_proj", false},
      {R"("target_modules": ["layers.0.q_proj"])", "model.layers.0.q_proj", true},
      {R"("target_modules": ["s.0.q_proj"])", "model.layers.0.q_proj", false},
      {R"("target_modules": "q_proj")", "model.q_proj", false},
      {R"("target_modules": ".*q_proj")", "model.q_proj", true},
      {R"("target_modules": ".*\\.(q|v)_proj")", "model.v_proj", true},
      {R"("target_modules": ".*\\.(q|v)_proj")", "model.v_proj.x", false},
      {R"("target_modules": "(?i).*Q_PROJ")", "model.q_proj", true},
      {R"("target_modules": ".*(?:language|text).*?(?:q_proj).*?")", "model.language_model.layers.0.q_proj",
       true},
      {R"j("target_modules": "(?:\\bmodel\\.layers\\.[\\d]{1,}\\.(?:mlp)\\.(?:(?:up_proj)))")j",
       "model.layers.10.mlp.up_proj", true},
      {R"("target_modules": ".*", "exclude_modules": ".*lm_head")", "lm_head", false},
      {R"("target_modules": ".*", "exclude_modules": "")", "lm_head", true},
      {R"("target_modules": ["q_proj"], "exclude_modules": ["0.q_proj"])", "model.layers.0.q_proj", false},
      {R"("target_modules": ["q_proj"], "exclude_modules": ["0.q_proj"])", "model.layers.10.q_proj", true},
      {R"("target_modules": ["q_proj"], "exclude_modules": ["model"])", "model.q_proj", true},
      {R"("target_modules": ["q_proj"], "modules_to_save": ["mlp"])", "model.mlp.q_proj", false},
      {R"("target_modules": ["q_proj"], "modules_to_save": ["mlp"])", "model.mlps.q_proj", true},
      {R"("target_modules": ["q_proj"], "modules_to_save": ["m.*p"])", "model.mlp.q_proj", false},
      {R"("target_modules": null)", "any.name", true},
      {"", "any.name", true},
      {R"("target_modules": null, "target_parameters": ["experts.up"])", "any.name", false},
      {R"("target_modules": ["q_proj"], "layers_to_transform": [1, 12])", "model.layers.1.q_proj", true},
      {R"("target_modules": ["q_proj"], "layers_to_transform": [1, 12])", "model.layers.12.q_proj", true},
      {R"("target_modules": ["q_proj"], "layers_to_transform": [1, 12])", "model.layers.2.q_proj", false},
      {R"("target_modules": ["q_proj"], "layers_to_transform": [1])", "model.layers.01.q_proj", true},
      {R"("target_modules": ["q_proj"], "layers_to_transform": [1])", "q_proj", true},
      {R"("target_modules": ["q_proj"], "layers_to_transform": [1])", "model.q_proj", false},
      {R"("target_modules": ["q_proj"], "layers_to_transform": [])", "model.layers.2.q_proj", true},
      {R"("target_modules": ["q_proj"], "layers_to_transform": 0)", "model.layers.0.q_proj", true},
      {R"("target_modules": ["up"], "layers_to_transform": [1])", "model.layers.1.experts.0.up", true},
      {R"("target_modules": ["up"], "layers_to_transform": [0])", "model.layers.1.experts.0.up", false},
      {R"("target_modules": ["up"], "layers_to_transform": [0], "layers_pattern": "experts")",
       "model.layers.1.experts.0.up", true},
      {R"("target_modules": ["up"], "layers_to_transform": [2], "layers_pattern": ["h", "layers?"])",
       "model.layer.2.up", true},
      {R"("target_modules": ["up"], "layers_to_transform": [2], "layers_pattern": ["h"])", "model.layer.2.up",
       false},
      {R"("target_modules": ["up"], "layers_to_transform": [2], "layers_pattern": [])", "model.layer.2.up",
       true},
      {R"("target_modules": "All-Linear")", "model.layers.0.q_proj", true},
      {R"("target_modules": "all-linear")", "lm_head", false},
      {R"("target_modules": "all-linear", "task_type": "SEQ_CLS")", "score", false},
      {R"("target_modules": "all-linear")", "cls.predictions.decoder", false},
      {R"("target_modules": ["embed_tokens"], "ensure_weight_tying": true)", "lm_head", true},
  };
  for (const Row& row : rows) {
    CAPTURE(row.members);
    CAPTURE(row.module);
    CHECK(patterns_of(row.members).covers(row.module, false) == row.expected);
  }
  CHECK(!patterns_of(R"("target_modules": "all-linear")").covers("model.embed_tokens", true));
}

TEST_CASE("adapter patterns: members of a wrong type are named") {
  struct Row {
    const char* members;
    const char* expected;
  };
  const Row rows[] = {
      {R"("r": 0)", "r is "},
      {R"("r": -4)", "r is "},
      {R"("r": 8.5)", "r is "},
      {R"("r": "8")", "r is "},
      {R"("r": true)", "r is "},
      {R"("r": null)", "r is "},
      {R"("r": 99999999999)", "r is "},
      {R"("lora_alpha": "16")", "lora_alpha is not a number"},
      {R"("lora_alpha": NaN)", "lora_alpha is not a number"},
      {R"("rank_pattern": ["q"])", "rank_pattern is not an object"},
      {R"("rank_pattern": {"q": 2.5})", "rank_pattern: the rank of 'q' is "},
      {R"("rank_pattern": {"q": "2"})", "rank_pattern: the rank of 'q' is "},
      {R"("alpha_pattern": {"q": null})", "alpha_pattern: the value of 'q' is not a number"},
      {R"("alpha_pattern": {"(": 2})", "alpha_pattern: the pattern '(' can't be used"},
      {R"("target_modules": 3)", "target_modules is not a text or a list of texts"},
      {R"("target_modules": ["q", 3])", "target_modules is not a text or a list of texts"},
      {R"("target_modules": {"q": 3})", "target_modules is not a text or a list of texts"},
      {R"("target_modules": "(")", "target_modules: the pattern '(' can't be used"},
      {R"("exclude_modules": true)", "exclude_modules is not a text or a list of texts"},
      {R"("exclude_modules": "a**")", "exclude_modules: the pattern 'a**' can't be used"},
      {R"("target_parameters": "experts.up")", "target_parameters is not a list of texts"},
      {R"("layers_to_transform": "1")", "layers_to_transform is not a whole number"},
      {R"("layers_to_transform": [1.5])", "layers_to_transform is not a whole number"},
      {R"("layers_to_transform": [true])", "layers_to_transform is not a whole number"},
      {R"("layers_pattern": 1, "layers_to_transform": [1])", "layers_pattern is not a text"},
      {R"("layers_pattern": "(", "layers_to_transform": [1])",
       "layers_pattern: the pattern '(' can't be used"},
      {R"("layers_pattern": "h")", "layers_pattern is set, but layers_to_transform is not"},
      {R"("target_modules": "x", "layers_to_transform": [1])",
       "layers_to_transform and layers_pattern can't be set"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.members);
    const std::string fault = fault_of(row.members);
    CAPTURE(fault);
    CHECK(fault.starts_with(row.expected));
  }
}

TEST_CASE("adapter patterns: the patterns of one adapter share what they may take") {
  const AdapterPatterns patterns =
      patterns_of(R"("rank_pattern": {"(a*)*[bc]": 2}, "target_modules": "(.*)*x")");
  const AdapterPatterns copy = patterns;
  CHECK_THROWS_AS((void)patterns.rank_of(std::string(60, 'a') + "d"), Error);
  CHECK_THROWS_AS((void)copy.covers("x", false), Error);
}
