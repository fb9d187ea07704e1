// SPDX-License-Identifier: Apache-2.0
// What an existing card in the folder says: facts from the trainer that wrote it, and options of earlier
// runs.
#include <algorithm>
#include <iterator>

#include "base/text.h"
#include "card/card_text.h"
#include "card/front_matter.h"
#include "card/gather.h"
#include "card/repair.h"
#include "card/tables.h"
#include "model/hf_cache.h"

namespace mu {
namespace {

constexpr std::string_view kSource = "README.md";

// The badges of TRL's template link to the pages of the run.
void add_run_pages(CardFacts& facts, std::string_view body) {
  struct Row {
    std::string_view badge, fact;
  };
  static constexpr Row kRows[] = {{"alt=\"Visualize in Weights & Biases\"", "wandb"},
                                  {"alt=\"Visualize in Trackio\"", "trackio"},
                                  {"alt=\"Visualize in Comet\"", "comet"}};
  for (const Row& row : kRows) {
    const std::size_t badge = body.find(row.badge);
    if (badge == std::string_view::npos) continue;
    const std::string_view line = trim(body.substr(badge, body.find('\n', badge) - badge));
    const std::size_t open = line.find("](");
    if (open == std::string_view::npos || !line.ends_with(')')) continue;
    const std::string_view url = line.substr(open + 2, line.size() - open - 3);
    if (is_https(url)) facts.add(row.fact, std::string(url), kSource);
  }
}

// TRL's quick start names the repository; a card that was copied together with the base names the base.
void add_published_name(CardFacts& facts, std::string_view body) {
  constexpr std::string_view kModel = "model=\"";
  const std::size_t model = body.find(kModel);
  if (model == std::string_view::npos) return;
  const std::string_view id =
      body.substr(model + kModel.size(), body.find('"', model + kModel.size()) - model - kModel.size());
  if (is_repo_id(id) && id.find('/') != std::string_view::npos && id != facts.text("base_model"))
    facts.add("repo", std::string(id), kSource);
}

// The library and task of a card that its files do not show: a LoRA of a diffusion model, weights for MLX. The
// names that trainers write in any case say nothing.
void add_library_of_card(CardFacts& facts, const std::vector<std::string>& libraries,
                         const std::vector<std::string>& tasks, const std::vector<std::string>& tags) {
  const std::string library = libraries.empty() ? "" : libraries.front();
  if (library.size() < 60 && library != "transformers" && library != "peft" && library != "None")
    facts.add("library_name", library, kSource);
  if (tasks.size() == 1 && is_pipeline_tag(tasks.front())) facts.add("pipeline_tag", tasks.front(), kSource);
  if (facts.text("library_name") != "diffusers") return;
  for (const std::string& tag : tags) {
    if (tag.find("-to-") != std::string::npos && is_pipeline_tag(tag))
      facts.add("pipeline_tag", tag, "README.md tags");
  }
}

// "- TRL: 1.0" (TRL), "- PEFT 0.1" (PEFT and Transformers).
void add_versions(CardFacts& facts, std::string_view body) {
  constexpr unsigned kMostVersions = 100;  // a trainer writes some five
  unsigned versions = 0;
  bool inside = false;
  for (std::string_view line : split(body, '\n')) {
    line = trim(line);
    if (line.starts_with("#")) inside = line == "### Framework versions";
    if (!inside || !line.starts_with("- ")) continue;
    const std::size_t space = line.rfind(' ');
    std::string_view name = line.substr(2, std::max<std::size_t>(space, 2) - 2);
    const std::string_view version = line.substr(space + 1);
    if (name.ends_with(':')) name.remove_suffix(1);
    const bool sound =
        !name.empty() && name.size() < 40 && version.size() < 60 && version.find_first_of("0123456789") == 0;
    if (sound && ++versions <= kMostVersions)
      facts.add("version_" + std::string(name), std::string(version), kSource);
  }
}

// Whether an option could have said this: anybody may have edited the line that remembers it.
bool is_sound_given(const Fact& fact) {
  const auto all = [&](auto good) { return std::all_of(fact.values.begin(), fact.values.end(), good); };
  const std::string& name = fact.name;
  const auto is_one_of = [&](std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (is_one_of({"base_model", "datasets", "repo"}))
    return all([](const std::string& v) { return is_repo_id(v); });
  if (is_one_of({"wandb", "comet", "trackio", "tensorboard"}))
    return all([](const std::string& v) { return is_https(v); });
  if (name == "license") return all([](const std::string& v) { return license_name(v).has_value(); });
  if (name == "base_parameters")
    return all([](const std::string& v) {
      return v.size() < 16 && v.find_first_not_of("0123456789") == std::string::npos;
    });
  if (name == "language") return all([](const std::string& v) { return is_language(v); });
  if (name == "trainer") return all([](const std::string& v) { return is_plain_name(v); });
  if (name == "method") return all([](const std::string& v) { return trainer_by_tag(v) != nullptr; });
  if (name == "base_model_relation") return all([](const std::string& v) { return is_relation(v); });
  if (name == "plot" || name == "style")
    return all([](const std::string& v) { return !is_local_path(v) && v.find("..") == std::string::npos; });
  return name.starts_with("version_") ||
         is_one_of({"base_model_revision", "name", "license_name", "license_link", "library_name",
                    "pipeline_tag", "tags", "authors", "citation", "source_revision"});
}

}  // namespace

void add_existing_card(CardFacts& facts, std::string text, const std::string& folder) {
  const CardFile card = read_card(std::move(text));
  require_mapping(card);
  const auto texts = [&](std::string_view key) {
    const YamlValue* value = card.data.find(key);
    return value == nullptr ? std::vector<std::string>() : value->texts();
  };
  if (!facts.has("base_model")) {
    std::vector<std::string> ids;
    for (const std::string& name : texts("base_model")) {
      if (const std::optional<BaseName> base = base_from_name(name, folder)) {
        ids.push_back(base->id);
        facts.add("base_model_revision", base->revision, kSource);
      }
    }
    if (ids.size() == 1) facts.add("base_model", ids.front(), kSource);
    if (ids.size() > 1) facts.add_list("base_model", ids, kSource);
  }
  for (const std::string& id : texts("license")) {
    if (license_name(id)) facts.add("license", id, kSource);
  }
  std::vector<std::string> datasets = texts("datasets"), languages = texts("language");
  std::erase_if(datasets, is_bad_dataset);
  std::erase_if(languages, [](const std::string& code) { return !is_language(code); });
  facts.add_list("datasets", datasets, kSource);
  facts.add_list("language", languages, kSource);
  const std::vector<std::string> tags = texts("tags");
  for (const std::string& tag : tags) {
    if (trainer_by_tag(tag) != nullptr) facts.add("method", tag, "README.md tags");
  }
  // Our own regions were made from facts; only what others wrote is a source.
  if (parse_state(card.body()).present) return;
  // The next run will find a state line and not read these again.
  const std::size_t before = facts.facts.size();
  add_library_of_card(facts, texts("library_name"), texts("pipeline_tag"), tags);
  add_run_pages(facts, card.body());
  if (std::find(tags.begin(), tags.end(), "trl") != tags.end()) add_published_name(facts, card.body());
  facts.given.insert(facts.given.end(), facts.facts.begin() + static_cast<std::ptrdiff_t>(before),
                     facts.facts.end());
  add_versions(facts, card.body());
  std::vector<std::string> others = facts.list("tags");
  // The adapter of a run may have been merged since.
  const bool whole = facts.text("kind").starts_with("model");
  std::copy_if(tags.begin(), tags.end(), std::back_inserter(others), [whole](const std::string& tag) {
    return !tag.starts_with("base_model:") && !tag.starts_with("trackio:") &&
           trainer_by_tag(tag) == nullptr && !(whole && (tag == "lora" || tag == "peft"));
  });
  const Fact* said = facts.find("tags");
  const std::string source = said == nullptr ? std::string(kSource) : said->source;
  facts.remove("tags");
  facts.add_list("tags", others, source);
}

namespace {

// Adds the remembered facts whose names `wanted` accepts.
template <typename Wanted>
void add_remembered(CardFacts& facts, const CardState& state, Wanted wanted) {
  for (const Fact& fact : state.given) {
    if (!wanted(fact.name) || facts.has(fact.name) || !is_sound_given(fact)) continue;
    facts.facts.push_back(fact);
    facts.given.push_back(fact);
  }
}

bool holds(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// The names of the facts that came from a run.
std::vector<std::string> names_from_run(const CardState& state) {
  const auto found = std::find_if(state.given.begin(), state.given.end(),
                                  [](const Fact& fact) { return fact.name == "from_run"; });
  return found == state.given.end() ? std::vector<std::string>() : found->values;
}

}  // namespace

void add_given(CardFacts& facts, const CardState& state) {
  const std::vector<std::string> from_run = names_from_run(state);
  add_remembered(facts, state, [&](const std::string& name) { return !holds(from_run, name); });
}

void add_given_run(CardFacts& facts, const CardState& state) {
  const std::vector<std::string> from_run = names_from_run(state);
  if (from_run.empty()) return;
  add_remembered(facts, state, [&](const std::string& name) { return holds(from_run, name); });
  facts.given.push_back({"from_run", from_run, true, false, "--run, earlier"});
}

}  // namespace mu
