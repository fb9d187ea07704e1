// SPDX-License-Identifier: Apache-2.0
// A card composed from facts: entries of the front matter and named regions of the body, before it is decided
// whether they become a new file or replace parts of an old one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "card/facts.h"

namespace mu {

enum class CardStyle : std::uint8_t { kFull, kTrl, kMinimal };

struct CardEntry {
  std::string key;
  std::string lines;       // whole lines of YAML
  bool by_option = false;  // overrides what people wrote
};

struct CardRegion {
  std::string name;  // "usage"
  std::string text;  // Markdown, ends with a newline
};

struct CardText {
  std::string title;
  std::vector<CardEntry> front;
  std::vector<CardRegion> regions;
  std::vector<Fact> given;  // from options; the next run should still know it
};

// What the state line of an existing card remembers. parse_state() reads it.
struct CardState {
  bool present = false;
  std::vector<std::pair<std::string, std::string>> hashes;  // of keys, and of regions, named "region/NAME"
  std::vector<Fact> given;

  [[nodiscard]] const std::string* find(std::string_view key) const;
};
CardState parse_state(std::string_view body);
// The place of the last state line in a body: a comment of its own, closed on the same line.
struct StatePlace {
  std::size_t begin, size;  // bytes
};
std::optional<StatePlace> find_state(std::string_view body);
std::string state_text(const CardState& state);  // the line, without its line end

// `plot` is the file name of the loss curve beside the card; empty for none.
CardText compose_card(const CardFacts& facts, CardStyle style, std::string_view plot);

// The whole card, with the marks around its regions.
std::string render_card(const CardText& card);

// The marks of a region: whole lines, without their line ends.
std::string region_begin(std::string_view name);
std::string region_end(std::string_view name);
std::string short_hash(std::string_view text);  // of the text with "\n" as line ends

// The regions of the body; compose_card() leaves empty ones out.
std::string summary_region(const CardFacts& facts);
std::string usage_region(const CardFacts& facts);
std::string model_region(const CardFacts& facts);
std::string adapter_region(const CardFacts& facts);
std::string tokenizer_region(const CardFacts& facts);
std::string training_region(const CardFacts& facts, std::string_view plot);
std::string hyperparameter_region(const CardFacts& facts);
std::string evaluation_region(const CardFacts& facts);
std::string versions_region(const CardFacts& facts);
std::string provenance_region(const CardFacts& facts);
std::string citation_region(const CardFacts& facts);
std::string method_sentence(const CardFacts& facts);  // used in other regions
// Code that loads the model with a library other than Transformers and PEFT; empty for libraries that we do not
// know how to use.
std::string library_code(const CardFacts& facts);
// What a reader can type for the model: the repository, else its path as seen from beside its folder.
std::string model_id(const CardFacts& facts);
// The sections of TRL's own card, under its headings.
std::string trl_quick_start(const CardFacts& facts);
std::string trl_procedure(const CardFacts& facts);
std::string trl_versions(const CardFacts& facts);
std::string trl_citations(const CardFacts& facts);

}  // namespace mu
