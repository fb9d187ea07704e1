// SPDX-License-Identifier: Apache-2.0
#include "base/apart.h"

#include <doctest/doctest.h>

#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/text.h"

namespace mu {
namespace {

using Names = std::vector<std::string>;

// Every name fits, names that differ look different, and equal ones alike.
void check_apart(const Names& names, std::size_t columns) {
  const Names shown = shorten_apart(names, columns);
  REQUIRE(shown.size() == names.size());
  std::set<std::string> different(names.begin(), names.end());
  CHECK(std::set<std::string>(shown.begin(), shown.end()).size() == different.size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    CAPTURE(shown[i]);
    CHECK(display_width(shown[i]) <= columns);
    CHECK(!find_invalid_utf8(shown[i]));
    if (display_width(names[i]) <= columns) CHECK(shown[i] == names[i]);
    for (std::size_t k = 0; k < i && names.size() < 100; ++k)
      CHECK((names[i] == names[k]) == (shown[i] == shown[k]));
  }
}

TEST_CASE("apart: names that are apart are cut in the middle, as one alone is") {
  const Names names = {"model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.up.weight", "short"};
  CHECK(shorten_apart(names, 24) ==
        Names{shorten_middle(names[0], 24), shorten_middle(names[1], 24), "short"});
  CHECK(shorten_apart(names, 80) == names);
  CHECK(shorten_apart({}, 24).empty());
}

TEST_CASE("apart: what distinguishes names is kept") {
  Names names;
  for (const char* module : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
    for (const char* factor : {"lora_A", "lora_B"})
      names.push_back(std::string("base_model.model.model.layers.12.self_attn.") + module + "." + factor +
                      ".default.weight");
  }
  check_apart(names, 40);
  const Names shown = shorten_apart(names, 40);
  for (std::size_t i = 0; i < names.size(); ++i) {
    CAPTURE(shown[i]);
    CHECK(shown[i].find(names[i].substr(43, 6)) != std::string::npos);
    CHECK(shown[i].find(names[i].substr(50, 6)) != std::string::npos);
  }
}

TEST_CASE("apart: a difference far from both ends") {
  const auto name = [](const std::string& middle) {
    return std::string(60, 'a') + middle + std::string(60, 'b');
  };
  const Names names = {name("1"),
                       name("2"),
                       name("31"),
                       name("32"),
                       name("31" + std::string(50, 'c') + "x"),
                       name("31" + std::string(50, 'c') + "y"),
                       std::string(60, 'a')};
  for (const std::size_t columns : {16U, 24U, 40U}) check_apart(names, columns);
  CHECK(shorten_apart({name("1"), name("2")}, 24)[1].find('2') != std::string::npos);
}

TEST_CASE("apart: many layers, wide characters, equal names, the narrowest column") {
  Names layers;
  for (int i = 0; i < 300; ++i)
    layers.push_back("transformer.encoder.block." + std::to_string(i) + ".attention.self.query.dense.weight");
  layers.insert(layers.end(), {layers[0], layers[7]});
  for (const std::size_t columns : {16U, 30U, 50U}) check_apart(layers, columns);
  check_apart({"漢漢漢漢漢漢漢1漢漢漢漢漢漢漢漢", "漢漢漢漢漢漢漢2漢漢漢漢漢漢漢漢",
               "漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢"},
              16);
}

TEST_CASE("apart: any names, in bounded time") {
  std::mt19937 engine(7);
  Names names;
  for (int i = 0; i < 400; ++i) {
    std::string name(20 + engine() % 80, 'x');
    for (int k = 0; k < 3; ++k) name[engine() % name.size()] = static_cast<char>('y' + engine() % 2);
    names.push_back(name);
  }
  check_apart(names, 16);
  Names long_names;
  for (int i = 0; i < 20; ++i)
    long_names.push_back(std::string(50'000, 'a') + std::to_string(i) + std::string(50'000, 'b'));
  check_apart(long_names, 24);
}

}  // namespace
}  // namespace mu
