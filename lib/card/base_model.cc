// SPDX-License-Identifier: Apache-2.0
// The base model: which one a name in a file means, and what its files say. Caches keep a model under a path
// that still shows its id; any other path shows nothing and never reaches a card.
#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "base/in_file.h"
#include "base/text.h"
#include "card/front_matter.h"
#include "card/gather.h"
#include "card/tables.h"
#include "model/hf_cache.h"
#include "net/environment.h"
#include "os/file.h"
#include "os/folder.h"

namespace mu {
namespace {

std::optional<BaseName> from_modelscope(const std::vector<std::string_view>& components) {
  for (std::size_t i = 0; i + 1 < components.size(); ++i) {
    if (components[i] != "modelscope" || components[i + 1] != "hub") continue;
    std::size_t at = i + 2;
    if (at < components.size() && components[at] == "models") ++at;
    if (at + 1 >= components.size()) return std::nullopt;
    std::string name(components[at + 1]);
    for (std::size_t dot = name.find("___"); dot != std::string::npos; dot = name.find("___", dot))
      name.erase(dot, 2)[dot] = '.';
    const std::string id = std::string(components[at]) + "/" + name;
    if (is_repo_id(id)) return BaseName{id, ""};
  }
  return std::nullopt;
}

}  // namespace

std::optional<BaseName> base_from_name(std::string_view name, const std::string& folder) {
  const std::vector<std::string_view> components = split(name, '/');
  if (const std::optional<CachedModel> cached = cached_model_at(name))
    return BaseName{cached->id, cached->commit};
  if (std::optional<BaseName> found = from_modelscope(components)) return found;
  if (!is_repo_id(name) || is_local_path(name) || name == "None") return std::nullopt;
  const std::string_view last = base_name(name);
  if (last.starts_with("checkpoint-")) return std::nullopt;
  // A relative path looks like an id; it is a path if there is such a folder.
  std::string at = folder;
  for (int up = 0; up < 4; ++up) {
    if (is_in_reach(join_path(at, name)) && is_folder(join_path(at, name))) return std::nullopt;
    at = join_path(at, "..");
  }
  if (is_folder(std::string(name))) return std::nullopt;
  return BaseName{std::string(name), ""};
}

bool add_base(CardFacts& facts, std::string_view name, const std::string& folder, std::string_view source) {
  if (facts.has("base_model")) return true;
  const std::optional<BaseName> base = base_from_name(name, folder);
  if (!base) return false;
  facts.add("base_model", base->id, source);
  facts.add("base_model_revision", base->revision, source);
  return true;
}

namespace {

// The snapshot of a model in the local Hugging Face cache, or nullopt.
std::optional<std::string> cached_snapshot(std::string_view id) {
  const std::string cache = hub_cache_home(), name = cached_repo_name("model", id);
  if (!is_repo_id(id) || !is_in_reach(join_path(join_path(cache, name), "snapshots"))) return std::nullopt;
  const CachedRepo repo(cache, name, CachedRepo::Links::kAllowed);
  try {
    if (const std::optional<std::string> main = repo.find_revision("main")) return repo.snapshot_path(*main);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kMalformed) throw;  // an unsound ref counts as none
  }
  // Downloaded by a tag or commit.
  const std::vector<std::string> snapshots = repo.snapshots();
  if (snapshots.size() != 1) return std::nullopt;
  return repo.snapshot_path(snapshots.front());
}

CardFile read_base_card(const std::string& path) {
  return in_file(path, [&] { return read_card(read_whole_file(path, kMaxCardBytes)); });
}

void add_base_license(CardFacts& facts, const CardFile& card, std::string_view source) {
  if (const YamlValue* license = card.data.find("license"); license != nullptr && license_name(license->text))
    facts.add("license", license->text, source);
  for (const std::string_view key : {"license_name", "license_link"}) {
    const YamlValue* value = card.data.find(key);
    if (value != nullptr && value->is_string() && facts.text("license") == "other")
      facts.add(key, value->text, source);
  }
}

// Takes the tags that describe the model; tags with a colon say how the base itself was made.
void add_base_tags(CardFacts& facts, const CardFile& card, std::string_view source) {
  const YamlValue* value = card.data.find("tags");
  if (value == nullptr) return;
  std::vector<std::string> tags = facts.list("tags");
  for (const std::string& tag : value->texts()) {
    if (tag.find(':') == std::string::npos && trainer_by_tag(tag) == nullptr &&
        std::find(tags.begin(), tags.end(), tag) == tags.end())
      tags.push_back(tag);
  }
  facts.remove("tags");
  facts.add_list("tags", tags, source);
}

void add_base_parameters(CardFacts& facts, const std::string& folder, std::string_view source) {
  const Folder base = scan_folder(folder);
  if (!has_weights(base)) return;
  CardFacts counted;
  const std::optional<Weights> weights = open_weights_of(counted, base);
  if (!weights) return;
  add_parameters(counted, *weights, nullptr, false);
  facts.add_number("base_parameters", counted.number("parameters").value_or(0), source);
}

}  // namespace

void add_base_model(CardFacts& facts, const CardOptions& options, bool adapter) {
  const std::optional<std::string> folder = options.base_folder ? options.base_folder
                                            : facts.list("base_model").size() == 1
                                                ? cached_snapshot(facts.text("base_model"))
                                                : std::nullopt;
  if (!folder) return;
  const std::string source = options.base_folder ? "option --base-from" : "the base model in the local cache";
  const std::string card_path = join_path(*folder, "README.md");
  if (exists(card_path)) {
    const CardFile card = read_base_card(card_path);
    add_base_license(facts, card, source);
    if (options.base_folder) add_base_tags(facts, card, source);
  }
  const std::string config_path = join_path(*folder, "config.json");
  if (!facts.has("pipeline_tag") && exists(config_path)) {
    const JsonDocument config = parse_json(read_whole_file(config_path, kMaxJson));
    const std::vector<std::string> classes = texts_of(config.root.find("architectures"));
    if (!classes.empty()) facts.add("pipeline_tag", task_of(classes.front(), config.root), source);
  }
  const std::string index_path = join_path(*folder, "model_index.json");
  if (!facts.has("pipeline_tag") && exists(index_path)) {
    const JsonDocument index = parse_json(read_whole_file(index_path, kMaxJson));
    const std::string* name = index.root.find_string("_class_name");
    if (name != nullptr) facts.add("pipeline_tag", std::string(diffusers_task(*name)), source);
  }
  if (adapter) add_base_parameters(facts, *folder, source);
  // An option said it, and it is remembered as such.
  if (options.base_folder)
    std::copy_if(facts.facts.begin(), facts.facts.end(), std::back_inserter(facts.given),
                 [&](const Fact& fact) { return fact.source == source; });
}

}  // namespace mu
