// SPDX-License-Identifier: Apache-2.0
// How a card is put together. compose_card() asks every region for its text (body.cc, usage.cc, citation.cc)
// and turns the facts that the Hub reads into front matter. render_card() writes a new card: front matter,
// title, each region between two comments that mark it as ours, and at the end the state line, a comment that
// remembers short hashes of everything written, and the given options. The hashes show a later run which keys
// and regions people have changed (update.cc); the options need not be given again. Values in the state line
// are percent-encoded, so none can close the comment, and what is read back is checked as if it were hostile.

#include "card/card_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <span>

#include "base/error.h"
#include "base/text.h"
#include "card/markdown.h"
#include "card/yaml.h"
#include "hash/sha256.h"

namespace mu {
namespace {

bool is_from_option(const Fact& fact) {
  return fact.source.starts_with("option");
}

// The results that --eval named, as model-index (hub-docs, modelcard.md).
std::string model_index(const CardFacts& facts) {
  std::string out = "model-index:\n- name: " + yaml_string(facts.text("name")) + "\n  results:\n";
  const std::string task = facts.has("pipeline_tag") ? facts.text("pipeline_tag") : "text-generation";
  std::string last;
  for (const EvalResult& result : facts.results) {
    if (!result.is_benchmark || !result.is_given) continue;
    if (result.task != last) {
      const std::string dataset = yaml_string(result.task);
      out += "  - task:\n      type: " + yaml_string(task) + "\n    dataset:\n      name: " + dataset +
             "\n      type: " + dataset + "\n    metrics:\n";
      last = result.task;
    }
    out += "    - type: " + yaml_string(result.metric.substr(0, result.metric.find(','))) +
           "\n      value: " + yaml_number(result.value) + "\n      name: " + yaml_string(result.metric) +
           "\n";
  }
  // A trainer's own results belong to the dataset, if one is named.
  const std::string dataset = facts.text("datasets");
  bool opened = false;
  for (const EvalResult& result : facts.results) {
    const bool metric = !result.is_benchmark && result.is_given && result.metric.starts_with("eval_");
    if (dataset.empty() || !metric) continue;
    if (!opened) {
      out += "  - task:\n      type: " + yaml_string(task) +
             "\n    dataset:\n      name: " + yaml_string(dataset) + "\n      type: " + yaml_string(dataset) +
             "\n    metrics:\n";
    }
    opened = true;
    out += "    - type: " + yaml_string(result.metric.substr(5)) +
           "\n      value: " + yaml_number(result.value) + "\n";
  }
  return last.empty() && !opened ? "" : out;
}

// --set: true, false and plain numbers keep their type, everything else is text.
std::string set_entry(const std::string& key, const std::string& value) {
  const bool truth = value == "true" || value == "false";
  const bool number = is_digits(value) && value.size() < 16 && (value == "0" || value.front() != '0');
  return truth || number ? yaml_string(key) + ": " + value + "\n" : yaml_entry(key, value);
}

// The order of the keys; that of TRL is huggingface_hub's for a card made by a program, with our own keys behind.
using Keys = std::vector<std::string_view>;
const Keys& keys_of(CardStyle style) {
  static const Keys ours = {
      "language",     "license",      "license_name", "license_link", "base_model", "base_model_relation",
      "library_name", "pipeline_tag", "datasets",     "tags"};
  static const Keys trls = {"base_model",   "datasets",     "library_name",       "license",
                            "license_name", "license_link", "model_name",         "tags",
                            "language",     "pipeline_tag", "base_model_relation"};
  return style == CardStyle::kTrl ? trls : ours;
}

std::vector<CardEntry> front_matter(const CardFacts& facts, CardStyle style) {
  std::vector<CardEntry> front;
  for (const std::string_view key : keys_of(style)) {
    if (key == "model_name" && facts.has("name"))
      front.push_back({"model_name", yaml_entry("model_name", facts.text("name"))});
    const Fact* fact = facts.find(key);
    if (fact == nullptr) continue;
    front.push_back({std::string(key),
                     fact->is_list ? yaml_entry(key, fact->values) : yaml_entry(key, fact->values.front()),
                     is_from_option(*fact)});
  }
  if (const std::string index = model_index(facts); !index.empty())
    front.push_back({"model-index", index, true});
  for (const auto& [key, value] : facts.front_matter) {
    const bool sound =
        key.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
        std::string::npos;
    if (!sound || key.size() > 100)
      throw usage("--set: '" + escape_name(shorten(key, 60)) + "' is not a key");
    for (const std::string_view own : {"language", "license", "base_model", "base_model_relation",
                                       "library_name", "pipeline_tag", "datasets", "tags", "model-index"}) {
      if (key == own) throw usage(fmt::format("--set {}: use the option for this key", key));
    }
    std::erase_if(front, [&k = key](const CardEntry& entry) { return entry.key == k; });
    front.push_back({key, set_entry(key, value), true});
  }
  return front;
}

}  // namespace

CardText compose_card(const CardFacts& facts, CardStyle style, std::string_view plot) {
  CardText card;
  card.title = (style == CardStyle::kTrl ? "Model Card for " : "") + facts.text("name");
  card.front = front_matter(facts, style);
  card.given = facts.given;
  const auto add = [&](std::string_view name, std::string text) {
    if (!text.empty()) card.regions.push_back({std::string(name), std::move(text)});
  };
  add("summary", summary_region(facts));
  if (style == CardStyle::kTrl) {
    add("usage", trl_quick_start(facts));
    add("training", trl_procedure(facts));
    add("versions", trl_versions(facts));
    add("citation", trl_citations(facts));
    return card;
  }
  add("usage", usage_region(facts));
  if (style == CardStyle::kMinimal) return card;
  add("model", model_region(facts));
  add("adapter", adapter_region(facts));
  add("tokenizer", tokenizer_region(facts));
  add("training", training_region(facts, plot));
  add("hyperparameters", hyperparameter_region(facts));
  add("evaluation", evaluation_region(facts));
  add("versions", versions_region(facts));
  add("provenance", provenance_region(facts));
  add("citation", citation_region(facts));
  return card;
}

std::string region_begin(std::string_view name) {
  return fmt::format("<!-- card-gen:begin {} -->", name);
}
std::string region_end(std::string_view name) {
  return fmt::format("<!-- card-gen:end {} -->", name);
}

std::string short_hash(std::string_view text) {
  std::string flat;
  for (const char c : text) {
    if (c != '\r') flat += c;
  }
  Sha256 hash;
  hash.update(std::as_bytes(std::span(flat)));
  return to_hex(hash.finish()).substr(0, 10);
}

const std::string* CardState::find(std::string_view key) const {
  const auto found =
      std::find_if(hashes.begin(), hashes.end(), [key](const auto& entry) { return entry.first == key; });
  return found == hashes.end() ? nullptr : &found->second;
}

namespace {

constexpr std::size_t kMostRemembered = 1000;  // entries; we write some dozens
constexpr std::string_view kStateMark = "<!-- card-gen:state ", kStateEnd = "-->";

// Encodes everything except letters, digits and a few marks as %XX, so that a value is one word and can't end
// the comment.
std::string encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = std::isalnum(byte) != 0 || c == '_' || c == '.' || c == '/' || c == ':';
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", byte);
  }
  return out;
}

std::string decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    const bool escape =
        text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16).ptr == text.data() + i + 3;
    out += escape ? static_cast<char>(value) : text[i];
    if (escape) i += 2;
  }
  return out;
}

}  // namespace

std::optional<StatePlace> find_state(std::string_view body) {
  for (std::size_t begin = body.rfind(kStateMark); begin != std::string_view::npos;
       begin = begin == 0 ? std::string_view::npos : body.rfind(kStateMark, begin - 1)) {
    if (begin > 0 && body[begin - 1] != '\n') continue;
    const std::size_t end = std::min(body.find('\n', begin), body.size());
    const std::size_t close = body.substr(begin, end - begin).find(kStateEnd);
    if (close != std::string_view::npos) return StatePlace{begin, close + kStateEnd.size()};
  }
  return std::nullopt;
}

CardState parse_state(std::string_view body) {
  CardState state;
  const std::optional<StatePlace> place = find_state(body);
  if (!place) return state;
  state.present = true;
  const std::string_view words =
      body.substr(place->begin + kStateMark.size(), place->size - kStateMark.size() - kStateEnd.size());
  for (const std::string_view word : split(words, ' ')) {
    if (state.hashes.size() + state.given.size() == kMostRemembered) break;
    const std::size_t equals = word.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view key = word.substr(0, equals), value = word.substr(equals + 1);
    if (!key.starts_with("given/")) {
      state.hashes.emplace_back(key, value);
      continue;
    }
    Fact fact{decoded(key.substr(6)),
              {},
              value.find(',') != std::string_view::npos,
              false,
              "an option of an earlier run"};
    for (const std::string_view part : split(value, ',')) {
      std::string text = decoded(part);
      // The line may have been edited by hand: what an option would refuse is not accepted here either.
      const bool sound = !text.empty() && text.find(kCardMark) == std::string::npos &&
                         std::all_of(text.begin(), text.end(), [](char c) {
                           return static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t';
                         });
      if (sound && !find_invalid_utf8(text)) fact.values.push_back(std::move(text));
    }
    if (!fact.values.empty()) state.given.push_back(std::move(fact));
  }
  return state;
}

std::string state_text(const CardState& state) {
  std::string out(kStateMark);
  for (const auto& [key, hash] : state.hashes) out += fmt::format("{}={} ", key, hash);
  for (const Fact& fact : state.given) {
    std::string values;
    for (const std::string& value : fact.values) values += encoded(value) + (fact.is_list ? "," : "");
    out += fmt::format("given/{}={} ", encoded(fact.name), values);
  }
  return out.append(kStateEnd);
}

std::string render_card(const CardText& card) {
  std::string out;
  for (const CardEntry& entry : card.front) out += entry.lines;
  // The Hub refuses fences with nothing between them.
  if (!out.empty()) out = "---\n" + out + "---\n\n";
  out += "# " + md_text(card.title) + "\n";
  for (const CardRegion& region : card.regions) {
    out += "\n" + region_begin(region.name) + "\n" + region.text + region_end(region.name) + "\n";
  }
  CardState state;
  for (const CardEntry& entry : card.front) state.hashes.emplace_back(entry.key, short_hash(entry.lines));
  for (const CardRegion& region : card.regions)
    state.hashes.emplace_back("region/" + region.name, short_hash(region.text));
  state.given = card.given;
  return out + "\n" + state_text(state) + "\n";
}

}  // namespace mu
