// SPDX-License-Identifier: Apache-2.0
// How a card that people have edited is updated. The rule is ownership: a key or region is ours only if its
// text still has the hash that the state line remembers from our last run. Ours are rewritten when the facts
// have changed. What people have changed stays, and so does the absence of what they have removed; both are
// reported. Two things override that: an option of this run, and values that are plainly wrong (an id that
// can't be one, the word None).
//
// Edits are byte ranges in the old text, collected and applied once, so that everything between them
// (comments, order, quotes, line ends) stays as it is. In a card without a state line, from TRL, PEFT or
// Transformers, known mistakes and placeholders are repaired first, and a region is added only if the card
// has no section of that kind under its own heading. At the end the result is parsed again: an edit that
// would break the YAML is an error, not a broken card.

#include "card/update.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "card/markdown.h"
#include "card/repair.h"
#include "card/yaml.h"

namespace mu {
namespace {

struct Edit {
  std::size_t begin, end;
  std::string text;
};

std::string apply(std::string_view text, std::vector<Edit> edits) {
  std::stable_sort(edits.begin(), edits.end(),
                   [](const Edit& a, const Edit& b) { return a.begin < b.begin; });
  std::string out;
  std::size_t at = 0;
  for (const Edit& edit : edits) {
    out += text.substr(at, edit.begin - at);
    out += edit.text;
    at = edit.end;
  }
  return out + std::string(text.substr(at));
}

bool same_value(const YamlValue& a, const YamlValue& b) {
  if (a.is_scalar() && b.is_scalar()) return a.kind == b.kind && a.text == b.text;
  // An id and a list with only that id mean the same.
  const auto of_strings = [](const YamlValue& value) {
    return value.is_string() || (value.kind == YamlValue::Kind::kList &&
                                 std::all_of(value.items.begin(), value.items.end(),
                                             [](const YamlValue& item) { return item.is_string(); }));
  };
  if (of_strings(a) && of_strings(b)) return a.texts() == b.texts();
  if (a.kind != b.kind || a.items.size() != b.items.size() || a.members.size() != b.members.size())
    return false;
  for (std::size_t i = 0; i < a.items.size(); ++i) {
    if (!same_value(a.items[i], b.items[i])) return false;
  }
  for (std::size_t i = 0; i < a.members.size(); ++i) {
    if (a.members[i].key != b.members[i].key || !same_value(a.members[i].value, b.members[i].value))
      return false;
  }
  return true;
}

bool has_bad_tag(const YamlValue& tags) {
  const std::vector<std::string> texts = tags.texts();
  return std::any_of(texts.begin(), texts.end(), is_bad_tag);
}

class Updater {
 public:
  Updater(const CardFile& old, const CardText& fresh, const CardFacts& facts)
      : old_(old), fresh_(fresh), facts_(facts), state_(parse_state(old.body())) {}

  CardUpdate run() {
    if (old_.unterminated)
      throw malformed("the front matter opened by '---' is never closed")
          .at("line 1")
          .hint("close it with a line of three dashes");
    require_mapping(old_);
    if (old_.data.is_flow)
      throw refused("the front matter is a flow mapping {…}, which can't be edited by lines");
    new_state_.present = true;
    new_state_.given = fresh_.given;
    std::string front = front_matter();
    std::string body = update_body();
    result_.text = std::move(front) + std::move(body);
    if (result_.text != old_.text && result_.changes.empty())
      result_.changes.emplace_back("the state line is out of date");
    require_readable();
    return std::move(result_);
  }

 private:
  // Lines that only seemed complete fail once others follow them.
  void require_readable() const {
    try {
      const CardFile back = read_card(result_.text);
      for (const auto& [key, hash] : new_state_.hashes) {
        if (writes_key(key) && back.data.find(key) == nullptr && old_.find(key) != nullptr)
          throw malformed("lost " + key);
      }
    } catch (const Error& error) {
      throw malformed(
          std::string("the front matter is not sound YAML: with our keys added it can't be read back (") +
          error.message() + ")")
          .at(fmt::format("line {}", old_.yaml_line));
    }
  }

  [[nodiscard]] bool writes_key(std::string_view key) const {
    return std::any_of(fresh_.front.begin(), fresh_.front.end(),
                       [key](const CardEntry& entry) { return entry.key == key; });
  }

  void change(std::string what) { result_.changes.push_back(std::move(what)); }

  void own(std::string_view key, std::string_view text) {
    new_state_.hashes.emplace_back(key, short_hash(text));
  }

  // --- front matter

  std::string front_matter() {
    std::vector<Edit> edits;
    std::string added;
    for (const CardEntry& entry : fresh_.front) {
      const CardKey* key = old_.find(entry.key);
      if (key == nullptr) {
        if (state_.find(entry.key) != nullptr && !entry.by_option) {
          result_.kept.push_back(entry.key + ": was removed by hand and stays so");
          new_state_.hashes.emplace_back(entry.key, *state_.find(entry.key));
          continue;
        }
        added += with_line_ends(entry.lines, old_.eol);
        own(entry.key, entry.lines);
        change(entry.key + ": is missing");
      } else {
        update_key(entry, *key, edits);
      }
    }
    remove_wrong_keys(edits);
    carry_state();
    if (!old_.has_front_matter) {
      const std::size_t bom = old_.has_bom ? 3 : 0;
      rest_ = old_.text.substr(bom);
      if (added.empty()) return "";
      return "---" + old_.eol + added + "---" + old_.eol +
             (rest_.starts_with("\n") || rest_.starts_with("\r") ? "" : old_.eol);
    }
    edits.push_back({old_.yaml_end, old_.yaml_end, added});
    std::string front = apply(std::string_view(old_.text).substr(0, old_.body_begin), edits);
    if (old_.has_bom) {
      front.erase(0, 3);
      change("a byte order mark keeps Python libraries from seeing the front matter");
    }
    if (!front.ends_with('\n')) front += old_.eol;
    rest_ = old_.body();
    return front;
  }

  void update_key(const CardEntry& entry, const CardKey& key, std::vector<Edit>& edits) {
    const YamlValue& before = *old_.data.find(entry.key);
    const YamlValue after = parse_yaml(entry.lines, 1).members.front().value;
    const std::string old_lines(old_.lines_of(key));
    const std::string* hash = state_.find(entry.key);
    const bool owned = hash != nullptr && *hash == short_hash(old_lines);
    const auto replace = [&](const std::string& lines, const std::string& why) {
      edits.push_back({key.begin, key.end, with_line_ends(lines, old_.eol)});
      own(entry.key, lines);
      change(entry.key + ": " + why);
    };
    if (same_value(before, after) && (entry.key != "tags" || before.kind == YamlValue::Kind::kList)) {
      if (owned) own(entry.key, old_lines);
      if (!owned && hash != nullptr) new_state_.hashes.emplace_back(entry.key, *hash);
    } else if (entry.by_option && entry.key != "tags") {
      replace(entry.lines, "the option says otherwise");
    } else if (owned) {
      replace(entry.lines, "the folder says otherwise");
    } else if (entry.key == "tags" && (hash == nullptr || entry.by_option || has_bad_tag(before))) {
      merge_tags(before, after, replace);
    } else if (is_wrong(entry.key, before) && (hash == nullptr || entry.key != "library_name")) {
      replace(entry.lines, "what the card says is wrong");
    } else {
      result_.kept.push_back(fmt::format("{}: the card says {}, the folder says {}; what people wrote stays",
                                         entry.key, escape_name(join(before.texts(), ", ")),
                                         escape_name(join(after.texts(), ", "))));
      if (hash != nullptr) new_state_.hashes.emplace_back(entry.key, *hash);
    }
  }

  // Tags are a set that several programs write.
  template <typename Replace>
  void merge_tags(const YamlValue& before, const YamlValue& after, const Replace& replace) {
    std::vector<std::string> tags = before.texts();
    std::erase_if(tags, is_bad_tag);
    std::unordered_set<std::string> known(tags.begin(), tags.end());
    for (const std::string& tag : after.texts()) {
      if (known.insert(tag).second) tags.push_back(tag);
    }
    if (tags == before.texts() && before.kind == YamlValue::Kind::kList) return;
    const std::string lines = yaml_entry("tags", tags);
    replace(lines, "some are missing or wrong");
    new_state_.hashes.pop_back();  // they don't become ours alone
  }

  [[nodiscard]] bool is_wrong(const std::string& key, const YamlValue& value) const {
    // An empty value is nobody's word.
    if (value.kind == YamlValue::Kind::kNull ||
        (!value.is_scalar() && value.items.empty() && value.members.empty()))
      return true;
    const std::vector<std::string> texts = value.texts();
    if (key == "base_model") return std::any_of(texts.begin(), texts.end(), is_bad_id);
    if (key == "datasets") return std::any_of(texts.begin(), texts.end(), is_bad_dataset);
    // TRL writes this for adapters too.
    return key == "library_name" && value.text == "transformers" && facts_.text("library_name") == "peft";
  }

  void remove_wrong_keys(std::vector<Edit>& edits) {
    for (std::size_t i = 0; i < old_.keys.size(); ++i) {
      const CardKey& key = old_.keys[i];
      const YamlValue& value = old_.data.members[i].value;
      const bool misspelt = key.key == "licence" && value.text == "license";
      const bool names_none = (key.key == "base_model" || key.key == "datasets") && !writes_key(key.key) &&
                              is_wrong(key.key, value);
      if (!misspelt && !names_none) continue;
      edits.push_back({key.begin, key.end, ""});
      change(key.key + ": " +
             (misspelt                  ? "a placeholder under a misspelt key"
              : key.key == "base_model" ? "does not name a model"
                                        : "does not name a dataset of the Hub"));
    }
  }

  // Keys and regions that an earlier run wrote, from files that this run was not given, stay ours.
  void carry_state() {
    for (const auto& [key, hash] : state_.hashes) {
      const bool fresh_region =
          std::any_of(fresh_.regions.begin(), fresh_.regions.end(),
                      [&k = key](const CardRegion& r) { return "region/" + r.name == k; });
      if (!writes_key(key) && !fresh_region) new_state_.hashes.emplace_back(key, hash);
    }
  }

  // --- body

  struct Place {
    std::size_t begin, end;  // bytes of the content between the marks
  };

  static std::optional<std::size_t> find_line(std::string_view text, std::string_view line,
                                              std::size_t from) {
    for (std::size_t at = text.find(line, from); at != std::string_view::npos; at = text.find(line, at + 1)) {
      const std::size_t end = at + line.size();
      const bool whole =
          (at == 0 || text[at - 1] == '\n') && (end == text.size() || text[end] == '\n' || text[end] == '\r');
      if (whole) return at;
    }
    return std::nullopt;
  }

  static std::optional<Place> find_region(std::string_view body, std::string_view name) {
    const std::string begin_mark = region_begin(name);
    const std::optional<std::size_t> begin = find_line(body, begin_mark, 0);
    if (!begin) return std::nullopt;
    const std::size_t content = body.find('\n', *begin);
    const std::optional<std::size_t> end =
        content == std::string_view::npos ? std::nullopt : find_line(body, region_end(name), content + 1);
    if (!end)
      throw malformed(fmt::format("the region '{}' is never closed", name))
          .hint("restore the line " + region_end(name));
    return Place{content + 1, *end};
  }

  // Whether the text that people wrote already has such a section, under its own heading.
  static bool has_section(std::string_view body, const CardRegion& region) {
    struct Row {
      std::string_view name;
      std::initializer_list<std::string_view> headings;
    };
    static const Row kRows[] = {{"usage", {"## Quick start", "## Usage", "## How to Get Started"}},
                                {"citation", {"## Citation"}},
                                {"evaluation", {"## Evaluation results"}},
                                {"hyperparameters", {"### Training hyperparameters"}}};
    if (region.name == "summary") return !trim(body).empty();
    const std::string_view own = std::string_view(region.text).substr(0, region.text.find('\n') + 1);
    if (own.starts_with("#") && find_heading(body, {own})) return true;
    return std::any_of(std::begin(kRows), std::end(kRows), [&](const Row& row) {
      return row.name == region.name && find_heading(body, row.headings);
    });
  }

  // Sections about the model stand before what to cite, which ends a card; else at the end.
  void insert_regions(std::string& body, const std::string& regions) {
    std::optional<std::size_t> at = find_line(body, region_begin("citation"), 0);
    if (!at) at = find_heading(body, {"## Citation", "# Citation", "## BibTeX", "## How to cite"});
    if (!at || regions.empty()) {
      appended_ += regions;
      return;
    }
    body.insert(*at, with_line_ends(regions.substr(1) + "\n", old_.eol));
  }

  std::string update_body() {
    std::string body = rest_;
    if (!state_.present) repair_body(body, old_, facts_, result_.changes);
    const std::string people = body;
    std::string added;
    for (const CardRegion& region : fresh_.regions) {
      const std::string key = "region/" + region.name;
      const std::string* hash = state_.find(key);
      const std::optional<Place> place = find_region(body, region.name);
      if (!place) {
        if (hash != nullptr) {
          result_.kept.push_back("region " + region.name + ": was removed by hand and stays so");
          new_state_.hashes.emplace_back(key, *hash);
        } else if (!has_section(people, region)) {
          const std::string text =
              "\n" + region_begin(region.name) + "\n" + region.text + region_end(region.name) + "\n";
          (region.name == "citation" ? appended_ : added) += text;
          own(key, region.text);
          change("region " + region.name + ": is missing");
        }
        continue;
      }
      const std::string content = body.substr(place->begin, place->end - place->begin);
      const bool ours = hash == nullptr || *hash == short_hash(content);
      if (!ours) {
        if (short_hash(content) != short_hash(region.text))
          result_.kept.push_back(
              "region " + region.name +
              ": was changed by hand and stays so; remove the lines of its marks to keep it for "
              "good, or remove the region to get it again");
        new_state_.hashes.emplace_back(key, *hash);
        continue;
      }
      if (short_hash(content) != short_hash(region.text)) {
        body.replace(place->begin, place->end - place->begin, with_line_ends(region.text, old_.eol));
        change("region " + region.name + ": is out of date");
      }
      own(key, region.text);
    }
    const std::string citation = std::exchange(appended_, "");
    insert_regions(body, added);
    appended_ += citation;
    return with_state(std::move(body), appended_);
  }

  std::string with_state(std::string body, const std::string& appended) {
    const std::string line = state_text(new_state_);
    if (const std::optional<StatePlace> place = find_state(body)) {
      if (!appended.empty()) {
        const std::string text = with_line_ends(appended.substr(1) + "\n" + line, old_.eol);
        body.replace(place->begin, place->size, text);
      } else if (!same_state()) {
        body.replace(place->begin, place->size, line);
      }
      return body;
    }
    if (!body.empty() && !body.ends_with('\n')) body += old_.eol;
    return body + with_line_ends(appended + "\n" + line + "\n", old_.eol);
  }

  [[nodiscard]] bool same_state() const {
    auto a = state_.hashes, b = new_state_.hashes;
    std::sort(a.begin(), a.end());
    std::sort(b.begin(), b.end());
    CardState x, y;
    x.given = state_.given;
    y.given = new_state_.given;
    for (CardState* side : {&x, &y})
      std::sort(side->given.begin(), side->given.end(),
                [](const Fact& one, const Fact& other) { return one.name < other.name; });
    return a == b && state_text(x) == state_text(y);
  }

  const CardFile& old_;
  const CardText& fresh_;
  const CardFacts& facts_;
  CardState state_, new_state_;
  std::string rest_;
  std::string appended_;  // regions that go to the end of the card
  CardUpdate result_;
};

}  // namespace

CardUpdate update_card(const CardFile& old, const CardText& fresh, const CardFacts& facts) {
  return Updater(old, fresh, facts).run();
}

}  // namespace mu
