// SPDX-License-Identifier: Apache-2.0
// Facts and where they come from. A fact keeps its first source, so the order in which the sources are asked
// is their ranking: options first (add_options), then files (gather.cc) or a document of st-inspect
// (add_inspection), and last what follows from the facts collected so far (add_conclusions). Options are
// checked when they are added, since people paste anything: an id must be an id of the Hub, an address an
// https URL, and no text may hold control characters or the marks of card-gen. What options said is also kept
// in `given`, which the state line of the card remembers for the next run.

#include "card/facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "card/tables.h"
#include "model/hf_cache.h"
#include "os/folder.h"

namespace mu {
namespace {

void refuse_control(std::string_view option, std::string_view value) {
  const bool bad = std::any_of(value.begin(), value.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7F;
  });
  if (value.find(kCardMark) != std::string_view::npos)
    throw usage(fmt::format("{}: a value can't hold the marks of card-gen", option));
  if (bad || find_invalid_utf8(value))
    throw usage(fmt::format("{}: '{}' has a control character or is not UTF-8", option,
                            escape_name(shorten(value, 60))));
}

void require_id(std::string_view option, std::string_view id) {
  if (is_repo_id(id)) return;
  throw usage(fmt::format("{}: '{}' is not an id of the Hub", option, escape_name(shorten(id, 60))))
      .hint("give NAME or OWNER/NAME, not a path or a sentence");
}

void require_url(std::string_view option, std::string_view url) {
  if (is_https(url)) return;
  throw usage(fmt::format("{}: '{}' is not an https address", option, escape_name(shorten(url, 60))));
}

void add_bases(CardFacts& facts, const std::vector<std::string>& bases) {
  std::vector<std::string> ids;
  std::string revision;
  for (const std::string& base : bases) {
    const std::size_t at = base.find('@');
    const std::string id = base.substr(0, at);
    require_id("--base", id);
    if (at != std::string::npos) {
      revision = base.substr(at + 1);
      if (revision.empty() || revision.find_first_of(" \t\n\"'`<>|") != std::string::npos)
        throw usage("--base: the revision after '@' is not a branch, tag or commit");
    }
    if (id.find('/') == std::string::npos)
      facts.notes.push_back(fmt::format("--base {}: the Hub links to a model only by owner/name", id));
    ids.push_back(id);
  }
  if (ids.size() > 1) facts.add_list("base_model", ids, "option --base");
  if (ids.size() == 1) facts.add("base_model", ids.front(), "option --base");
  facts.add("base_model_revision", revision, "option --base");
}

void add_license(CardFacts& facts, const CardOptions& o) {
  if (!o.license) return;
  if (!license_name(*o.license)) {
    Error error = usage(fmt::format("--license: the Hub does not know the licence '{}'",
                                    escape_name(shorten(*o.license, 60))));
    if (const std::optional<std::string> better = suggest_license(*o.license))
      throw error.hint("did you mean " + *better);
    throw error.hint("use other with --license-name and --license-link");
  }
  facts.add("license", *o.license, "option --license");
  if (*o.license == "other" && !o.license_name)
    facts.notes.emplace_back("--license other needs --license-name and --license-link");
}

void add_datasets(CardFacts& facts, const CardOptions& o) {
  for (const std::string& dataset : o.datasets) {
    require_id("--dataset", dataset);
    if (dataset.find('/') == std::string::npos)
      facts.notes.push_back(
          fmt::format("--dataset {}: the Hub links to a dataset only by owner/name", dataset));
  }
  facts.add_list("datasets", o.datasets, "option --dataset");
}

void add_languages(CardFacts& facts, const CardOptions& o) {
  for (const std::string& language : o.languages) {
    if (is_language(language)) continue;
    Error error =
        usage(fmt::format("--language: '{}' is not an ISO 639 code", escape_name(shorten(language, 60))));
    if (const std::optional<std::string> better = suggest_language(language))
      error.hint("did you mean " + *better);
    throw error;
  }
  facts.add_list("language", o.languages, "option --language");
}

// --library-version and --set.
void add_pairs(CardFacts& facts, const CardOptions& o) {
  for (const std::string& pair : o.library_versions) {
    refuse_control("--library-version", pair);
    const std::size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0) throw usage("--library-version takes NAME=VERSION");
    facts.add("version_" + pair.substr(0, equals), pair.substr(equals + 1), "option --library-version");
  }
  for (const std::string& pair : o.set) {
    refuse_control("--set", pair);
    const std::size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0) throw usage("--set takes KEY=VALUE");
    facts.front_matter.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
  }
}

}  // namespace

const Fact* CardFacts::find(std::string_view name) const {
  const auto found =
      std::find_if(facts.begin(), facts.end(), [name](const Fact& fact) { return fact.name == name; });
  return found == facts.end() ? nullptr : &*found;
}

std::string CardFacts::text(std::string_view name) const {
  const Fact* fact = find(name);
  return fact == nullptr ? std::string() : fact->values.front();
}

std::vector<std::string> CardFacts::list(std::string_view name) const {
  const Fact* fact = find(name);
  return fact == nullptr ? std::vector<std::string>() : fact->values;
}

std::optional<double> CardFacts::number(std::string_view name) const {
  const Fact* fact = find(name);
  double value = 0;
  if (fact == nullptr) return std::nullopt;
  const std::string& text = fact->values.front();
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc()) return std::nullopt;
  return value;
}

void CardFacts::add(std::string_view name, std::string value, std::string_view source) {
  if (!value.empty() && !has(name))
    facts.push_back({std::string(name), {std::move(value)}, false, false, std::string(source)});
}

void CardFacts::add_number(std::string_view name, double value, std::string_view source) {
  if (has(name)) return;
  const bool whole =
      value >= 0 && value < 1e15 && value == static_cast<double>(static_cast<std::uint64_t>(value));
  std::string text = whole ? std::to_string(static_cast<std::uint64_t>(value)) : fmt::format("{}", value);
  facts.push_back({std::string(name), {std::move(text)}, false, true, std::string(source)});
}

void CardFacts::add_list(std::string_view name, std::vector<std::string> values, std::string_view source) {
  if (!values.empty() && !has(name))
    facts.push_back({std::string(name), std::move(values), true, false, std::string(source)});
}

void CardFacts::remove(std::string_view name) {
  std::erase_if(facts, [name](const Fact& fact) { return fact.name == name; });
}

bool CardFacts::is_adapter() const {
  return text("kind").starts_with("adapter") || text("base_model_relation") == "adapter";
}

void add_options(CardFacts& facts, const CardOptions& o) {
  const auto plain = [&](std::string_view name, const std::optional<std::string>& value,
                         const std::string& option) {
    if (!value) return;
    refuse_control(option, *value);
    facts.add(name, *value, "option " + option);
  };
  const auto url = [&](std::string_view name, const std::optional<std::string>& value,
                       const std::string& option) {
    if (value) require_url(option, *value);
    plain(name, value, option);
  };
  add_bases(facts, o.base);
  if (o.relation) facts.add("base_model_relation", *o.relation, "option --relation");
  plain("name", o.name, "--name");
  if (o.repo) require_id("--repo", *o.repo);
  plain("repo", o.repo, "--repo");
  add_license(facts, o);
  plain("license_name", o.license_name, "--license-name");
  plain("license_link", o.license_link, "--license-link");
  plain("library_name", o.library, "--library");
  plain("pipeline_tag", o.pipeline_tag, "--pipeline-tag");
  if (o.pipeline_tag && !is_pipeline_tag(*o.pipeline_tag))
    facts.notes.push_back("--pipeline-tag: the Hub does not list " + escape_name(*o.pipeline_tag));
  if (o.method) {
    if (trainer_by_tag(*o.method) == nullptr) throw usage("--method takes one of " + trainer_tags());
    facts.add("method", *o.method, "option --method");
  }
  add_datasets(facts, o);
  add_languages(facts, o);
  for (const std::string& tag : o.tags) refuse_control("--tag", tag);
  facts.add_list("tags", o.tags, "option --tag");
  for (const std::string& author : o.authors) refuse_control("--author", author);
  facts.add_list("authors", o.authors, "option --author");
  url("wandb", o.wandb, "--wandb");
  url("comet", o.comet, "--comet");
  url("trackio", o.trackio, "--trackio");
  url("tensorboard", o.tensorboard, "--tensorboard");
  plain("citation", o.citation, "--citation");
  plain("source_revision", o.source_revision, "--source-revision");
  add_pairs(facts, o);
  facts.given = facts.facts;
}

namespace {

constexpr std::string_view kConclusion = "follows from the other facts";

void add_relation(CardFacts& facts, bool adapter) {
  if (!facts.has("base_model")) return;
  const bool merge = facts.list("base_model").size() > 1 || facts.has("merge_method");
  // A model trained in few bits, and kept so, is a finetune.
  const bool trained = facts.has("method") || facts.has("trainer") || facts.has("global_step");
  const bool quantised = (facts.has("quantization") && !trained) || facts.has("gguf_file");
  if (!facts.has("kind") && !facts.has("base_model_relation") && !merge)
    facts.notes.emplace_back(
        "without the files of the model it counts as a finetune of its base; --relation changes that");
  facts.add("base_model_relation",
            adapter     ? "adapter"
            : merge     ? "merge"
            : quantised ? "quantized"
                        : "finetune",
            kConclusion);
}

// The tags that the libraries themselves write, by which the Hub tells the kinds of their models apart.
void add_library_tags(const CardFacts& facts, std::vector<std::string>& tags) {
  const std::string library = facts.text("library_name"), of = facts.text("sentence_class");
  if (library == "setfit") tags.insert(tags.end(), {"setfit", "sentence-transformers"});
  if (library == "diffusers") tags.emplace_back("diffusers");
  if (library == "timm") tags.emplace_back("timm");
  if (library != "sentence-transformers") return;
  tags.emplace_back("sentence-transformers");
  if (of == "CrossEncoder") tags.insert(tags.end(), {"cross-encoder", "reranker"});
  if (of == "SparseEncoder") tags.insert(tags.end(), {"sparse-encoder", "sparse"});
  if (of == "MultiVectorEncoder") tags.insert(tags.end(), {"multi-vector", "colbert", "late-interaction"});
  if (of == "SentenceTransformer")
    tags.insert(tags.end(), {"sentence-similarity", "feature-extraction", "dense"});
}

void add_tags(CardFacts& facts, bool adapter) {
  const std::string base = facts.text("base_model"), method = facts.text("method");
  // The tags that TRL, PEFT and Transformers set, in a fixed order.
  std::vector<std::string> tags;
  const std::string library = facts.text("library_name");
  if (adapter && !base.empty() && facts.list("base_model").size() == 1)
    tags.push_back("base_model:adapter:" + base);
  if (!method.empty() || facts.has("trainer") || !facts.train_curve.empty())
    tags.emplace_back("generated_from_trainer");
  if (facts.text("peft_type") == "LORA" || facts.has("lora_file")) tags.emplace_back("lora");
  if (adapter && library == "peft") tags.emplace_back("transformers");
  add_library_tags(facts, tags);
  if (!method.empty()) tags.emplace_back("trl");
  if (!method.empty()) tags.push_back(method);
  if (facts.has("merge_method")) tags.insert(tags.end(), {"mergekit", "merge"});
  if (facts.has("unsloth_version")) tags.emplace_back("unsloth");
  if (facts.has("custom_code")) tags.emplace_back("custom_code");
  if (facts.has("trackio")) tags.push_back("trackio:" + facts.text("trackio"));
  const std::vector<std::string> own = facts.list("tags");
  const std::string source =
      own.empty() ? std::string(kConclusion) : facts.find("tags")->source + " and the other facts";
  std::set<std::string_view> known(tags.begin(), tags.end());
  std::vector<std::string> all = tags;
  std::copy_if(own.begin(), own.end(), std::back_inserter(all),
               [&known](const std::string& tag) { return known.insert(tag).second; });
  facts.remove("tags");
  facts.add_list("tags", all, source);
}

void add_library_name(CardFacts& facts, bool adapter) {
  if (facts.has("lora_file")) facts.add("pipeline_tag", "text-to-image", "the usual task of such a LoRA");
  // Several programs use GGUF, and the Hub counts none of them as a library.
  if (facts.has("gguf_file")) return;
  const bool peft = facts.has("peft_type") || (adapter && !facts.has("kind"));
  const bool trained = facts.has("trainer") || facts.has("method") || facts.has("global_step");
  const bool known = facts.has("architecture") || facts.has("model_type") || trained ||
                     (!facts.has("kind") && facts.has("base_model"));
  if (peft || (known && adapter)) {
    facts.add("library_name", "peft", kConclusion);
  } else if (known) {
    facts.add("library_name", "transformers", kConclusion);
  }
}

void add_name(CardFacts& facts) {
  const std::string base = facts.text("base_model"), method = facts.text("method");
  if (const Fact* repo = facts.find("repo"))
    facts.add("name", std::string(base_name(repo->values.front())), repo->source);
  facts.add("name", facts.text("folder_name"), "the folder's name");
  if (!base.empty()) {
    const std::string stem = base.substr(base.find('/') + 1);
    const std::string dataset = facts.text("datasets");
    facts.add("name",
              stem + "-" +
                  (!method.empty()   ? method
                   : dataset.empty() ? "finetuned"
                                     : dataset.substr(dataset.find('/') + 1)),
              kConclusion);
  }
  facts.add("name", "model", kConclusion);
}

void note_license(CardFacts& facts) {
  const std::string base = facts.text("base_model");
  if (!facts.has("license"))
    facts.notes.emplace_back(
        "no licence is known and the card states none; give --license (usually that of the base model)");
  if (!base.empty() && facts.text("license").empty() && base.starts_with("meta-llama/"))
    facts.notes.emplace_back(
        "Llama models have their own licences: llama2, llama3, llama3.1, llama3.2, llama3.3, llama4");
}

}  // namespace

void add_conclusions(CardFacts& facts) {
  const bool adapter = facts.is_adapter();
  add_relation(facts, adapter);
  add_library_name(facts, adapter);
  const std::string method = facts.text("method");
  if (!method.empty() && !facts.has("kind"))
    facts.add("pipeline_tag", method == "reward-trainer" ? "text-classification" : "text-generation",
              "the method");

  // Only for a language model: the losses of DPO and the like are not entropies.
  const std::optional<double> loss = facts.number("best_eval_loss");
  const bool entropy = !facts.metrics_first && (method.empty() || method == "sft") &&
                       facts.text("pipeline_tag") == "text-generation";
  if (loss && entropy && *loss < 50) facts.add_number("perplexity", std::exp(*loss), "best_eval_loss");
  add_tags(facts, adapter);
  add_name(facts);
  note_license(facts);
}

}  // namespace mu
