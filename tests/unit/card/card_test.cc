// SPDX-License-Identifier: Apache-2.0
// Front matter, tables, Markdown, parameters, state, and updates of the card.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "base/text.h"
#include "card/card_text.h"
#include "card/front_matter.h"
#include "card/gather.h"
#include "card/lint.h"
#include "card/markdown.h"
#include "card/plot.h"
#include "card/tables.h"
#include "card/update.h"
#include "testing.h"

using namespace mu;

TEST_CASE("front matter: found where the reference library finds it") {
  struct Row {
    const char* text;
    bool found;
  };
  for (const Row& row : {Row{"   \n---\nk: v\n---\nx", true}, Row{"x\n---\nk: v\n---\n", false},
                         Row{"--- \nk: v\n---\n", false}, Row{"---\nk: v\n--- \t\nx", true},
                         Row{"---\nk: v\n---oops\n", false}, Row{"---\nk: |\n  ---\n  a\n---\n", true},
                         Row{"---\n---\n", false}, Row{"---\r\nk: v\r\n---\r\nx", true},
                         Row{"\xEF\xBB\xBF---\nk: v\n---\n", true}, Row{"", false}, Row{"---", false},
                         Row{"---\nk: v\n---", true}, Row{"---\nk: v\n--- ", true},
                         Row{"---\r\nk: v\r\n---\t \r\nx", true}, Row{"---\nk: v\n---\r", false},
                         Row{"---\nk: v\n ---\n", false}, Row{"---\n---\nk: v\n---\n", true}}) {
    CAPTURE(row.text);
    CHECK(read_card(row.text).has_front_matter == row.found);
  }
  CHECK(read_card("---\nk: v\n--- \t\nbody\n").body() == "body\n");
  CHECK(read_card("---\n---\nk: v\n---\nbody\n").data.find("k") != nullptr);
  CHECK(read_card("---\nk: v\n").unterminated);
  CHECK_FALSE(read_card("---\n---\n").unterminated);
  CHECK_FALSE(read_card("---\n" + std::string(200'000, '\n')).has_front_matter);
}

TEST_CASE("front matter: a key owns its lines, comments before the next key belong to none") {
  const CardFile card = read_card("---\n# top\na: 1\n# about b\nb:\n- x\n\nc: |\n  t\n  # text\n---\nbody\n");
  REQUIRE(card.keys.size() == 3);
  CHECK(card.lines_of(card.keys[0]) == "a: 1\n");
  CHECK(card.lines_of(card.keys[1]) == "b:\n- x\n");
  CHECK(card.lines_of(card.keys[2]).starts_with("c: |\n  t\n"));
  CHECK(card.body() == "body\n");
}

TEST_CASE("tables: licences, languages") {
  CHECK(license_name("apache-2.0"));
  CHECK_FALSE(license_name("Apache-2.0"));
  CHECK(suggest_license("Apache 2.0") == "apache-2.0");
  CHECK(suggest_license("gpl-3.0-or-later") == "gpl-3.0");
  for (const char* code : {"en", "no", "cmn", "code", "multilingual", "yue"}) CHECK(is_language(code));
  for (const char* code : {"EN", "zh-CN", "english", "ger", "iw", "", "a", "aa:"})
    CHECK_FALSE(is_language(code));
  CHECK(suggest_language("zh-CN") == "zh");
  CHECK(trainer_by_config("DPO")->paper == "2305.18290");
  CHECK(hyperparameters().size() > 40);
}

TEST_CASE("base model: paths in caches show the id, other paths nothing") {
  CHECK(base_from_name("/c/models--a--b/snapshots/0123456789012345678901234567890123456789", "/none")->id ==
        "a/b");
  CHECK(base_from_name("/x/modelscope/hub/models/a/b___1", "/none")->id == "a/b.1");
  CHECK(base_from_name("a/b", "/none")->id == "a/b");
  for (const char* name : {"/home/u/x", "./a", "None", "out/checkpoint-5", "a/b/c", "C:\\m"})
    CHECK_FALSE(base_from_name(name, "/none"));
}

TEST_CASE("markdown: nothing breaks out") {
  CHECK(md_text("a\nb") == "a b");
  CHECK(md_text("<b>[x](y)|*`") == "&lt;b>\\[x\\](y)\\|\\*\\`");
  CHECK(md_text("gpt_neo _x_") == "gpt_neo \\_x\\_");
  CHECK(md_code("a`b``c") == "```a`b``c```");
  CHECK(md_code("`") == "`` ` ``");
  CHECK(md_table({"h"}, {{md_code("a|b")}}) == "| h |\n|---|\n| `a\\|b` |\n");
  CHECK(md_block("", "```\nx") == "````\n```\nx\n````\n");
  CHECK(md_link("x", "https://a/b) c") == "[x](https://a/b%29%20c)");
}

TEST_CASE("parameters: counted as the Hub counts") {
  const auto count = [](std::vector<Tensor> tensors, const char* config) {
    Weights weights;
    weights.tensors = std::move(tensors);
    const JsonDocument document = parse_json(config);
    CardFacts facts;
    add_parameters(facts, weights, &document.root, false);
    return *facts.number("parameters");
  };
  CHECK(count({{"a", Dtype::kF32, {2, 3}, 0, 0, 24},
               {"s", Dtype::kF32, {}, 0, 0, 4},
               {"e", Dtype::kF8E8M0, {9}, 0, 0, 9}},
              "{}") == 6);
  CHECK(count({{"m.weight", Dtype::kU8, {10}, 0, 0, 10}, {"m.absmax", Dtype::kF32, {3}, 0, 0, 12}},
              R"({"quantization_config":{"quant_method":"bitsandbytes","load_in_4bit":true}})") == 20);
  CHECK(count({{"m.qweight", Dtype::kI32, {10}, 0, 0, 40},
               {"m.qzeros", Dtype::kI32, {3}, 0, 0, 12},
               {"m.scales", Dtype::kF16, {3}, 0, 0, 6}},
              R"({"quantization_config":{"quant_method":"gptq","bits":4}})") == 80);
  CHECK(count({{"x_blocks", Dtype::kU8, {8}, 0, 0, 8}, {"x_scales", Dtype::kU8, {8}, 0, 0, 8}},
              R"({"quantization_config":{"quant_method":"mxfp4"}})") == 16);
  // compressed-tensors: two groups, a module left out, scales beside them.
  const std::vector<Tensor> packed = {{"m.0.up.weight_packed", Dtype::kI32, {10}, 0, 0, 40},
                                      {"m.0.up.weight_scale", Dtype::kBF16, {5}, 0, 0, 10},
                                      {"m.0.up.weight_shape", Dtype::kI64, {2}, 0, 0, 16},
                                      {"m.1.down.weight_packed", Dtype::kI32, {10}, 0, 0, 40},
                                      {"lm_head.weight", Dtype::kI32, {7}, 0, 0, 28}};
  CHECK(
      count(packed, R"({"quantization_config":{"quant_method":"compressed-tensors","format":"pack-quantized",
      "ignore":["lm_head"],"config_groups":{"a":{"targets":["Linear"],"weights":{"num_bits":4}},
      "b":{"targets":["re:.*down$"],"weights":{"num_bits":8}}}}})") == 80 + 40 + 7);
  CHECK(count(packed, R"({"text_config":{"quantization_config":{"quant_method":"compressed-tensors",
      "format":"pack-quantized","ignore":["re:.*head"],"config_groups":{"a":{"targets":["re:m\\.0.*"],
      "weights":{"num_bits":4}}}}}})") == 80 + 10 + 7);
  // Whatever Python's re can say; a pattern that it refuses is said to be wrong instead of naming nothing.
  CHECK(
      count(packed, R"({"quantization_config":{"quant_method":"compressed-tensors","format":"pack-quantized",
      "ignore":["re:(lm_)?head"],"config_groups":{"a":{"targets":["re:m\\.\\d+\\.(up|down)$"],
      "weights":{"num_bits":4}}}}})") == 80 + 80 + 7);
  CHECK_THROWS_AS(count(packed, R"({"quantization_config":{"quant_method":"compressed-tensors",
      "format":"pack-quantized","ignore":["re:(head"]}})"),
                  Error);
  CHECK(count({{"l.weight", Dtype::kU8, {10}, 0, 0, 10}, {"head.weight", Dtype::kU8, {10}, 0, 0, 10}},
              R"({"quantization_config":{"quant_method":"bitsandbytes","load_in_4bit":true,
              "modules_to_not_convert":["head"]}})") == 30);
  CHECK(count({{"m.experts.0.w", Dtype::kI8, {10}, 0, 0, 10},
               {"m.shared_experts.w", Dtype::kI8, {10}, 0, 0, 10}},
              R"({"quantization_config":{"quant_method":"fp8","expert_dtype":"fp4"}})") == 30);
}

TEST_CASE("chat example: read from a plain template, nothing from any other") {
  const std::string question = "Which three habits make a good laboratory notebook?";
  CHECK(chat_example(
            "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + eos_token }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
            "<s>", "</s>") == "<|user|>" + question + "</s><|assistant|>");
  CHECK(chat_example("{{- bos_token }}\n{%- for message in messages %}\n  {{ message.role }}: {{ "
                     "message[\"content\"] }}\n"
                     "{% endfor %}\n",
                     "<s>", "") == "<s>  user: " + question + "\n");
  for (const char* other :
       {"", "hello", "{% for m in messages %}{% if m.role == 'user' %}x{% endif %}{% endfor %}",
        "{{ m.content }}", "{% for m in messages %}{{ m.content | trim }}{% endfor %}",
        "{% for m in messages %}{{ m.content }}", "{% for m in messages %}{{ eos_token }}{% endfor %}", "{{",
        "{%", "{", "{% for m in messages %}{{ 'a }}{% endfor %}",
        "{% for m in tools %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}<!-- card-gen:end usage -->{% endfor %}"})
    CHECK(chat_example(other, "", "") == "");
}

TEST_CASE("training: named evaluations, NaN, resumed runs, no summary") {
  CardFacts facts;
  add_trainer_state(facts, parse_trainer_state(R"({"global_step":4,"log_history":[
    {"step":1,"loss":3.0},{"step":2,"loss":NaN},{"step":3,"loss":9.0},{"step":3,"eval_a_loss":2.0},{"step":3,"eval_b_loss":2.5},
    {"step":2,"loss":2.0},{"step":4,"loss":1.0},{"step":4,"eval_a_loss":1.5,"eval_a_runtime":1.0}]})"));
  REQUIRE(facts.train_curve.size() == 4);
  CHECK(facts.train_curve[1].value == 2.0);
  CHECK(facts.eval_columns == std::vector<std::string>{"eval_a_loss", "eval_b_loss"});
  CHECK(facts.best_step == 4);
  CHECK(loss_svg(facts).find("<polyline class=\"eval\"") != std::string::npos);
  CardFacts empty;
  add_trainer_state(empty, parse_trainer_state("{}"));
  CHECK(empty.train_curve.empty());
  CHECK(testing::error_of([&] { loss_svg(empty); }) == ErrorKind::kRefused);
}

TEST_CASE("facts: a name that follows from the repository has its source") {
  CardFacts facts;
  facts.add("repo", "owner/mine", "training_args.bin");
  add_conclusions(facts);
  CHECK(facts.text("name") == "mine");
  CHECK(facts.find("name")->source == "training_args.bin");
}

TEST_CASE("state: options are remembered whatever their text") {
  CardState state;
  state.present = true;
  state.hashes = {{"license", "0123456789"}};
  state.given = {{"name", {"a b=%,-->\n\"ü"}, false, false, ""},
                 {"tags", {"x,y", "z"}, true, false, ""},
                 {"datasets", {"one"}, true, false, ""}};
  const CardState back = parse_state("x\n" + state_text(state) + "\n");
  REQUIRE(back.given.size() == 3);
  CHECK(back.given[0].values == state.given[0].values);
  CHECK(back.given[1].values == state.given[1].values);
  CHECK(back.given[2].is_list);
  CHECK(*back.find("license") == "0123456789");
}

namespace {

CardFacts sample_facts() {
  CardFacts facts;
  CardOptions options;
  options.base = {"a/b"};
  options.repo = "me/x";
  options.license = "mit";
  options.method = "sft";
  add_options(facts, options);
  add_conclusions(facts);
  return facts;
}

}  // namespace

TEST_CASE("update: random human edits survive, and a second run changes nothing") {
  const CardFacts facts = sample_facts();
  const CardText fresh = compose_card(facts, CardStyle::kFull, "");
  std::mt19937 random(7);
  const std::vector<std::string> inserts = {
      "People wrote this.\n", "\n",       "## Heading\n", "- item\n", "```\ncode\n```\n",
      "<!-- a comment -->\n", "ünïcode\n"};
  const std::vector<std::string> keys = {"# note\n", "odd:   [a,  b]   # kept\n", "widget:\n- text: hi\n",
                                         "x-1: 'q'\n"};
  for (int round = 0; round < 300; ++round) {
    std::string text = render_card(fresh);
    std::vector<std::string> added;
    std::string front_added;
    for (const std::string& key : keys) {
      if (random() % 2 == 0) front_added += key;
    }
    text.insert(4, front_added);
    const std::size_t body = read_card(text).body_begin;
    for (int i = 0; i < 4; ++i) {
      // Between regions only: inside one it is a change by hand, tested elsewhere.
      const std::size_t at = text.find("\n<!-- card-gen:begin", body + random() % (text.size() - body));
      const std::string& piece = inserts[random() % inserts.size()];
      if (at == std::string::npos) continue;
      text.insert(at + 1, piece);
      added.push_back(piece);
    }
    const CardUpdate once = update_card(read_card(text), fresh, facts);
    CHECK(once.text == text);  // the facts are the same, so nothing is touched
    CardFacts other = facts;
    for (Fact& fact : other.facts) {
      if (fact.name == "repo") fact.values = {"me/y"};
    }
    const CardText changed = compose_card(other, CardStyle::kFull, "");
    const CardUpdate twice = update_card(read_card(text), changed, other);
    CHECK(twice.text.find("me/y") != std::string::npos);
    CHECK(twice.text.find(front_added) != std::string::npos);
    for (const std::string& piece : added) CHECK(twice.text.find(piece) != std::string::npos);
    const CardUpdate thrice = update_card(read_card(twice.text), changed, other);
    CHECK(thrice.text == twice.text);
    CHECK(thrice.changes.empty());
  }
}

namespace {

using Random = std::mt19937;

bool chance(Random& random, unsigned of) {
  return random() % of == 0;
}

// A block of the edited card and whether people wrote it.
struct Block {
  std::string text;
  bool by_people;
};

void insert_somewhere(std::vector<Block>& blocks, Block block, Random& random) {
  const auto at = static_cast<std::ptrdiff_t>(random() % (blocks.size() + 1));
  blocks.insert(blocks.begin() + at, std::move(block));
}

// What an editor may do to the front matter: another order, other quotes, comments, keys of its own.
std::vector<Block> edited_front(const CardFile& card, Random& random, int round) {
  std::vector<Block> blocks;
  for (const CardKey& key : card.keys) {
    std::string lines(card.lines_of(key));
    const YamlValue& value = *card.data.find(key.key);
    const bool requoted = value.is_string() && chance(random, 3);
    if (requoted) lines = key.key + ":   '" + value.text + "'  # by hand\n";
    blocks.push_back({lines, requoted});
  }
  std::shuffle(blocks.begin(), blocks.end(), random);
  for (const std::string& own :
       {fmt::format("# comment {}\n", round), fmt::format("zz{}: [a,  'b']   # kept\n", round),
        fmt::format("widget:\n  - text: \"hi {}\"\n    # why\n", round),
        fmt::format("note: |\n  {}\n\n  --- more\n", round), fmt::format("odd-{}: yes\n", round)}) {
    if (chance(random, 2)) insert_somewhere(blocks, {own, true}, random);
  }
  return blocks;
}

// And to the body: parts moved, taken away, put between.
std::vector<Block> edited_body(std::string_view body, Random& random, int round,
                               std::vector<std::string>& removed) {
  std::vector<Block> blocks;
  for (std::size_t at = 0; at < body.size();) {
    const bool region = body.substr(at).starts_with("<!-- card-gen:begin ");
    const std::size_t last = region ? body.find("<!-- card-gen:end ", at) : at;
    const std::size_t end = std::min(body.find('\n', last), body.size() - 1) + 1;
    const std::string text(body.substr(at, end - at));
    at = end;
    if (region && chance(random, 6)) {
      removed.push_back(text.substr(0, text.find('\n')));
    } else if (trim(text).empty() && chance(random, 4)) {
      continue;
    } else {
      blocks.push_back({text, false});
    }
  }
  std::shuffle(blocks.begin(), blocks.end(), random);
  int number = 0;
  for (const char* own :
       {"Paragraph {} *of* <b>people</b>, `code`.\n", "## Heading {}\n",
        "```yaml\n---\nlicense: no-{}\n---\n```\n", "<!-- a note {} -->\n", "| a {} | b |\n|---|---|\n",
        "ünïcode {}  \n", "<!-- card-gen: {} is no mark -->\n", "- item {}\n  - below\n"}) {
    if (chance(random, 2)) continue;
    insert_somewhere(blocks, {fmt::format(fmt::runtime(own), round * 100 + number++), true}, random);
  }
  return blocks;
}

std::string crlf(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '\n' ? std::string("\r\n") : std::string(1, c);
  return out;
}

}  // namespace

TEST_CASE(
    "update: whatever people do to a card, their bytes stay in order, and a second run changes nothing") {
  const CardFacts facts = sample_facts();
  const CardText fresh = compose_card(facts, CardStyle::kFull, "");
  CardFacts other = facts;
  for (Fact& fact : other.facts) {
    if (fact.name == "repo") fact.values = {"me/y"};
  }
  const CardText changed = compose_card(other, CardStyle::kFull, "");
  Random random(11);
  for (int round = 0; round < 600; ++round) {
    const std::string whole = render_card(fresh);
    const CardFile card = read_card(whole);
    std::vector<std::string> removed;
    const std::vector<Block> front = edited_front(card, random, round);
    const std::vector<Block> body = edited_body(card.body(), random, round, removed);
    const bool windows = chance(random, 3), marked = chance(random, 5);
    std::string text = "---\n";
    for (const Block& block : front) text += block.text;
    text += "---\n";
    for (const Block& block : body) text += block.text;
    if (windows) text = crlf(text);
    if (marked) text = "\xEF\xBB\xBF" + text;
    CAPTURE(text);

    const CardUpdate once = update_card(read_card(text), changed, other);
    std::size_t at = 0;
    for (const std::vector<Block>* part : {&front, &body}) {
      for (const Block& block : *part) {
        if (!block.by_people) continue;
        CAPTURE(block.text);
        const std::size_t found = once.text.find(windows ? crlf(block.text) : block.text, at);
        REQUIRE(found != std::string::npos);
        at = found + 1;
      }
    }
    for (const std::string& mark : removed) CHECK(once.text.find(mark) == std::string::npos);
    if (windows) {  // no bare line end has come in
      std::size_t bare = 0;
      for (std::size_t i = 0; i < once.text.size(); ++i)
        bare += once.text[i] == '\n' && (i == 0 || once.text[i - 1] != '\r') ? 1 : 0;
      CHECK(bare == 0);
    }
    const CardFile back = read_card(once.text);
    CHECK_FALSE(back.has_bom);
    CHECK(back.data.find("license")->text == "mit");
    const CardUpdate again = update_card(back, changed, other);
    CHECK(again.text == once.text);
    CHECK(again.changes.empty());
  }
}

TEST_CASE("update: broken cards never crash it") {
  const CardFacts facts = sample_facts();
  const CardText fresh = compose_card(facts, CardStyle::kFull, "");
  const std::string whole = render_card(fresh);
  for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
    try {
      const CardUpdate update = update_card(read_card(whole.substr(0, cut)), fresh, facts);
      const CardUpdate again = update_card(read_card(update.text), fresh, facts);
      CHECK(again.text == update.text);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kMalformed);
    }
  }
}

TEST_CASE("update: a state mark that is never closed, or is not on its own line, is people's text") {
  const CardFacts facts = sample_facts();
  const CardText fresh = compose_card(facts, CardStyle::kFull, "");
  const std::string whole = render_card(fresh);
  for (const char* odd :
       {"<!-- card-gen:state a=b\n", "see <!-- card-gen:state a=b -->\n", "<!-- card-gen:states a=b -->\n"}) {
    std::string text = whole;
    text.insert(text.find("<!-- card-gen:begin"), odd);
    const CardUpdate none = update_card(read_card(text), fresh, facts);
    CHECK(none.text == text);
    // Without a state of its own the card gets one, and everything else stays.
    const std::size_t state = text.rfind("<!-- card-gen:state ");
    text.erase(state, text.find('\n', state) + 1 - state);
    const CardUpdate added = update_card(read_card(text), fresh, facts);
    CHECK(added.text.starts_with(text));
    CHECK(update_card(read_card(added.text), fresh, facts).text == added.text);
  }
}

TEST_CASE("lint: the Hub accepts what we write") {
  const std::string card = render_card(compose_card(sample_facts(), CardStyle::kFull, ""));
  CHECK(lint_card(read_card(card)).empty());
  CHECK(fix_card(read_card(card)) == card);
}
