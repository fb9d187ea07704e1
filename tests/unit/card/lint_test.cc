// SPDX-License-Identifier: Apache-2.0
// Every rule of the linter with a card that breaks it and one that does not; a rule without both fails.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "card/card_text.h"
#include "card/lint.h"

using namespace mu;

namespace {

struct Case {
  const char* rule;
  const char* bad;
  std::size_t line;  // the line of the finding
  const char* good;  // the same, repaired by hand
};

constexpr Case kCases[] = {
    {"CG-BASE", "---\nbase_model: /home/u/x\n---\n", 2, "---\nbase_model: owner/x\n---\n"},
    {"CG-BASE", "---\nbase_model:\n- a/b\n- my own model\n---\n", 4,
     "---\nbase_model:\n- a/b\n- gpt2\n---\n"},
    {"CG-DATASET", "---\ndatasets:\n- some prose here\n---\n", 3, "---\ndatasets:\n- owner/data\n---\n"},
    {"CG-LICENSE", "---\nlicense: Apache-2.0\n---\n", 2, "---\nlicense: apache-2.0\n---\n"},
    {"CG-LINK", "---\nlicense_link: COPYING\n---\n", 2, "---\nlicense_link: LICENSE.md\n---\n"},
    {"CG-LINK", "---\nlicense_link: http://a.b\n---\n", 2, "---\nlicense_link: https://a.b\n---\n"},
    {"CG-LANGUAGE", "---\nlanguage: zh-CN\n---\n", 2, "---\nlanguage: zh\nlanguage_bcp47: zh-CN\n---\n"},
    {"CG-TAGS", "---\ntags: one\n---\n", 2, "---\ntags:\n- one\n---\n"},
    {"CG-TYPE", "---\na: 1\nlanguage:\n---\n", 3, "---\na: 1\nlanguage: en\n---\n"},
    {"CG-TYPE", "---\ninference: [1]\n---\n", 2, "---\ninference: false\n---\n"},
    {"CG-RELATION", "---\nbase_model_relation: child\n---\n", 2, "---\nbase_model_relation: adapter\n---\n"},
    {"CG-INDEX",
     "---\nmodel-index:\n- name: x\n  results:\n  - task: {type: t}\n    dataset: {type: d, name: n, config: "
     "1}\n"
     "    metrics: []\n---\n",
     6,
     "---\nmodel-index:\n- name: x\n  results:\n  - task: {type: t}\n    dataset: {type: d, name: n, config: "
     "\"1\"}\n"
     "    metrics: []\n---\n"},
    {"CG-TOKEN", "---\na: b\n---\nx\nhf_abcdefghijklmnopqrstuvwxyzABCDEFGH\n", 5,
     "---\na: b\n---\nx\nhf_TOKEN\n"},
    {"CG-REGION", "---\na: b\n---\n<!-- card-gen:begin usage -->\n# x\n", 4,
     "---\na: b\n---\n<!-- card-gen:begin usage -->\n# x\n<!-- card-gen:end usage -->\n"},
    {"CG-BLANK", "---\n\n---\nx\n", 2, "---\na: b\n---\nx\n"},
    {"CG-OBJECT", "---\n- a\n- b\n---\n", 2, "---\na: b\n---\n"},
    {"CG-OBJECT", "---\n\njust a value\n---\n", 3, "---\njust: a value\n---\n"},
    {"CG-OBJECT", "---\n42\n---\n", 2, "---\na: 42\n---\n"},
    {"CG-EMPTY", "# none\n", 1, "---\na: b\n---\n# none\n"},
    {"CG-EMPTY", "---\na: b\n# never closed\n", 1, "---\na: b\n---\n# closed\n"},
    {"CG-TASK", "---\npipeline_tag: text2text-generation\n---\n", 2,
     "---\npipeline_tag: text-generation\n---\n"},
    {"CG-NOLICENSE", "---\na: b\n---\n", 2, "---\nlicense: mit\n---\n"},
    {"CG-LICENCE", "---\nlicence: license\n---\n", 2, "---\nlicense: mit\n---\n"},
    {"CG-OTHER", "---\nlicense: other\n---\n", 2,
     "---\nlicense: other\nlicense_name: mine-1\nlicense_link: LICENSE\n---\n"},
    {"CG-SLUG", "---\nlicense_name: My License\n---\n", 2, "---\nlicense_name: my-license-1.0\n---\n"},
    {"CG-FAMILY", "---\nbase_model: meta-llama/Llama-3.1-8B\nlicense: apache-2.0\n---\n", 3,
     "---\nbase_model: meta-llama/Llama-3.1-8B\nlicense: llama3.1\n---\n"},
    {"CG-FAMILY", "---\nbase_model: [a/b, google/gemma-2b]\nlicense: mit\n---\n", 3,
     "---\nbase_model: [a/b, TinyLlama/TinyLlama-1.1B]\nlicense: mit\n---\n"},
    {"CG-DATAFILE", "---\ndatasets:\n- a/b\n- data/train.jsonl\n---\n", 4, "---\ndatasets:\n- a/b\n---\n"},
    {"CG-NORELATION", "---\nbase_model: a/b\n---\n", 2,
     "---\nbase_model: a/b\nbase_model_relation: merge\n---\n"},
    {"CG-MISSING", "---\nlibrary_name: peft\n---\n", 2,
     "---\nlibrary_name: peft\npipeline_tag: text-generation\n---\n"},
    {"CG-NONE", "---\nbase_model: None\n---\n", 2, "---\nbase_model: a/None\n---\n"},
    {"CG-NONE", "---\na: b\n---\nof [None](https://huggingface.co/None)\n", 4, "---\na: b\n---\nof None\n"},
    {"CG-PLACEHOLDER", "---\na: b\n---\n\n[More Information Needed]\n", 5, "---\na: b\n---\n\nMore.\n"},
    {"CG-PATH", "---\na: b\n---\nsee /home/me/x\n", 4,
     "---\na: b\n---\nsee the folder x, https://a.b/home/me\n"},
    {"CG-PATH", "---\na: b\n---\non /workspace/data/train.jsonl\n", 4,
     "---\na: b\n---\nand/or, 1/2, `#!/usr/bin/env`, POST /v1/chat/completions, [page](/docs/x)\n"},
    {"CG-PATH", "---\na: b\n---\n`/data/models/Llama-3`\n", 4, "---\na: b\n---\n</a> /x ./a/b ../a/b\n"},
    {"CG-PATH", "---\na: b\n---\nsrc /data/a/b\n", 4,
     "---\na: b\n---\n<a href=\"/models/a\"> <img src='/static/b.png'> /path/to/model /r/LocalLLaMA\n"},
    {"CG-PATH", "---\na: b\n---\n\"D:\\runs\\a\"\n", 4, "---\na: b\n---\nab:\\c file\n"},
    {"CG-PATH", "---\na: b\n---\n\"D:\\\\runs\\\\a\"\n", 4,
     "---\na: b\n---\nthe drive D:\\ or D:\\, `D:\\.`, and `D:\\`\n"},
    {"CG-PATH", "---\na: b\n---\nfrom \\\\server\\share\\x\n", 4,
     "---\na: b\n---\na \\\\ \\hline b, \\\\frac\\pi{2}, \\\\hline, \\\\x \\d\\w\n"},
    {"CG-PATH", "---\na: b\n---\n`\\\\\\\\nas\\\\data$`\n", 4, "---\na: b\n---\n\\\\\\server\\share\n"},
    {"CG-PATH", "---\na: b\n---\n/opt/ml/model\n", 4,
     "---\na: b\n---\nin J /kg/m^3, W /m2/K, /mol/s-1, /s/GPU, x /sigma/tau^2\n"},
    {"CG-PATH", "---\na: b\n---\nfile:///scratch/me/x\n", 4, "---\na: b\n---\nhttps://scratch/me/x\n"},
    {"CG-PATH", "---\ntags:\n- base_model:adapter:/x\n---\n", 3,
     "---\ntags:\n- base_model:adapter:a/x\n---\n"},
    {"CG-DOUBT", "---\nlanguage: kr\n---\n", 2, "---\nlanguage: ko\n---\n"},
    {"CG-BRACKET", "---\ntags:\n- a [b, c]\n---\n", 3, "---\ntags:\n- a\n- b\n- c\n---\n"},
    {"CG-DIALECT", "---\nlanguage: no\n---\n", 2, "---\nlanguage: \"no\"\n---\n"},
    {"CG-DIALECT", "---\nx: {on: y, flag: off}\n---\n", 2, "---\nx: {on: y, flag: \"off\"}\n---\n"},
    {"CG-DIALECT", "---\nx:\n- 12:30  # noon\n---\n", 3, "---\nx:\n- \"12:30\"  # noon\n---\n"},
    {"CG-DIALECT", "---\nversion: 1e5\n---\n", 2, "---\nversion: \"1e5\"\n---\n"},
    {"CG-BOM", "\xEF\xBB\xBF---\na: b\n---\n", 1, "---\na: b\n---\n"},
};

std::vector<std::size_t> lines_of(std::string_view rule, const char* card) {
  std::vector<std::size_t> lines;
  for (const LintFinding& finding : lint_card(read_card(card))) {
    if (finding.rule->id == rule) lines.push_back(finding.line);
  }
  return lines;
}

}  // namespace

TEST_CASE("lint: every rule finds its bad card at the line, and not the good one") {
  std::set<std::string_view> tried;
  for (const Case& c : kCases) {
    CAPTURE(std::string(c.rule));
    CAPTURE(std::string(c.bad));
    CHECK(lines_of(c.rule, c.bad) == std::vector<std::size_t>(1, c.line));
    CHECK(lines_of(c.rule, c.good).empty());
    tried.insert(c.rule);
  }
  for (const LintRule& rule : lint_rules()) {
    CAPTURE(std::string(rule.id));
    CHECK(tried.contains(rule.id));
    CHECK_FALSE(rule.advice.empty());
  }
}

TEST_CASE("lint: repairs keep comments, order and everything around") {
  const std::string card =
      "---\nlicense: Apache-2.0  # chosen by us\nlanguage: [no, English , 'en'] # three\ntags:\n- off # a "
      "tag\n- x\n"
      "odd: {a: [yes, 'yes'], b: on}\n---\n";
  CHECK(fix_card(read_card(card)) ==
        "---\nlicense: apache-2.0  # chosen by us\nlanguage: [\"no\", en , 'en'] # three\ntags:\n- \"off\" # "
        "a tag\n- x\n"
        "odd: {a: [\"yes\", 'yes'], b: \"on\"}\n---\n");
  // Lines that end as Windows' do keep their ends.
  CHECK(fix_card(read_card("---\r\nlicense: Apache-2.0\r\ntags: a\r\n---\r\n")) ==
        "---\r\nlicense: apache-2.0\r\ntags:\r\n- a\r\n---\r\n");
}

TEST_CASE("lint: fixable findings are fixed, and fixing again changes nothing") {
  for (const Case& c : kCases) {
    const std::vector<LintRule>& rules = lint_rules();
    const auto rule =
        std::find_if(rules.begin(), rules.end(), [&](const LintRule& r) { return r.id == c.rule; });
    REQUIRE(rule != rules.end());
    CAPTURE(std::string(c.bad));
    const CardFile bad = read_card(c.bad);
    const std::string fixed = fix_card(bad);
    CHECK(fix_card(read_card(fixed)) == fixed);
    CHECK(fix_card(read_card(c.good)) == c.good);
    for (const LintFinding& finding : lint_card(bad)) {
      if (finding.rule == &*rule) CHECK(lines_of(c.rule, fixed.c_str()).empty() == finding.is_fixable);
    }
  }
}

// Each of these once took minutes.
TEST_CASE("lint: takes time in proportion to the card's length") {
  constexpr int kMany = 50'000;
  const auto repeated = [](auto line) {
    std::string text;
    for (int i = 0; i < kMany; ++i) text += line(i);
    return text;
  };
  const std::string head = "---\nlicense: mit\n---\n";
  const auto findings = [](const std::string& text) { return lint_card(read_card(text)).size(); };
  CHECK(findings(head + repeated([](int) { return "<!-- card-gen:begin x -->\n"; })) >= kMany);
  CHECK(findings(head + repeated([](int i) { return fmt::format("<!-- card-gen:begin x{} -->\n", i); })) >=
        kMany);
  CHECK(findings(head + "x" + repeated([](int) { return "/m/m/m/m/m/m"; })) < 10);
  CHECK(findings(head + repeated([](int) { return "\\\\\\\\\\"; })) < 10);
  const std::string keys = "---\n" + repeated([](int i) { return fmt::format("k{}: yes\n", i); }) + "---\n";
  CHECK(findings(keys) >= kMany);
  CHECK(fix_card(read_card(keys)).find("k49999: \"yes\"\n") != std::string::npos);
  const std::string list = "---\ntags: [" + repeated([](int) { return "no, "; }) + "no]\n---\n";
  const std::string fixed = fix_card(read_card(list));
  CHECK(fixed.starts_with("---\ntags: [\"no\", \"no\", "));
  CHECK(fixed.ends_with("\"no\", \"no\"]\n---\n"));
  CHECK_FALSE(find_state(repeated([](int) { return " <!-- card-gen:state "; })).has_value());
}
