// SPDX-License-Identifier: Apache-2.0
// How a card is judged. The front matter arrives parsed, every value with its line (yaml.h). The linter walks
// it in the order of the Hub's own schema: first whether there is a mapping at all, then ids, licence,
// languages, texts, types, tags, model-index, and last every plain scalar that Python and the Hub would read
// differently. Then it reads the body line by line: placeholders, dead links, secrets, paths, regions without
// an end. Every finding names a rule from the one table below, which says whether it is an error, whether
// --fix repairs it, and what to do. Everything takes time in proportion to the length of the card: a list of
// ends is kept instead of searching, since cards may be hostile.

#include "card/lint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <unordered_set>

#include "base/text.h"
#include "card/facts.h"
#include "card/machine_path.h"
#include "card/placeholders.h"
#include "card/tables.h"
#include "card/yaml_scalars.h"
#include "model/hf_cache.h"
#include "model/secrets.h"
#include "os/interrupt.h"

namespace mu {
namespace {

using Kind = YamlValue::Kind;

const LintRule& rule(std::string_view id) {
  const std::vector<LintRule>& rules = lint_rules();
  return *std::find_if(rules.begin(), rules.end(), [id](const LintRule& r) { return r.id == id; });
}

class Linter {
 public:
  explicit Linter(const CardFile& card) : card_(card) {}

  std::vector<LintFinding> run() {
    if (card_.has_bom) add("CG-BOM", 1, "the file starts with a byte order mark");
    if (card_.unterminated) {
      add("CG-EMPTY", 1, "the front matter is never closed");
    } else if (card_.has_front_matter && card_.data.kind == Kind::kNull) {
      add("CG-BLANK", card_.yaml_line, "the YAML metadata are blank");
    } else if (card_.has_front_matter && card_.data.kind == Kind::kList) {
      add("CG-OBJECT", card_.data.line, "\"value\" must be of type object, not a list");
    } else if (card_.has_front_matter && card_.data.kind != Kind::kMap) {
      add("CG-OBJECT", card_.data.line,
          fmt::format("the YAML metadata are {}, not keys with values", shown(card_.data.text)));
    } else if (!card_.has_front_matter || card_.data.members.empty()) {
      add("CG-EMPTY", 1, "there is no front matter");
    } else {
      front_matter();
    }
    body();
    std::stable_sort(found_.begin(), found_.end(),
                     [](const LintFinding& a, const LintFinding& b) { return a.line < b.line; });
    return std::move(found_);
  }

 private:
  void add(std::string_view id, std::size_t line, std::string message) {
    found_.push_back({&rule(id), line, std::move(message), rule(id).is_fixable});
  }

  static std::string shown(std::string_view text) { return "'" + escape_name(shorten(text, 60)) + "'"; }

  // Calls each(text, where, line) for a string or for each string of a list; anything else is a finding.
  template <typename Each>
  void strings(std::string_view key, Each each) {
    const YamlValue* value = card_.data.find(key);
    if (value == nullptr) return;
    if (value->kind == Kind::kMap || value->kind == Kind::kNull)
      return add("CG-TYPE", value->line, fmt::format("\"{}\" must be a text or a list of texts", key));
    if (value->is_scalar()) return one(*value, std::string(key), each);
    for (std::size_t i = 0; i < value->items.size(); ++i)
      one(value->items[i], fmt::format("{}[{}]", key, i), each);
  }
  template <typename Each>
  void one(const YamlValue& value, const std::string& where, Each each) {
    if (!value.is_string()) return add("CG-TYPE", value.line, fmt::format("\"{}\" must be a string", where));
    each(value.text, where, value.line);
  }

  void ids(std::string_view key, std::string_view id_rule, std::string_view what) {
    strings(key, [&](const std::string& text, const std::string& where, std::size_t line) {
      if (text == "None") return add("CG-NONE", line, fmt::format("\"{}\" is the word None", where));
      if (!is_repo_id(text)) {
        add(id_rule, line,
            fmt::format("\"{}\" with value {} is not valid: it is not a {} id", where, shown(text), what));
      } else if (key == "datasets" && is_data_file(text)) {
        add("CG-DATAFILE", line,
            fmt::format("\"{}\" with value {} names a file, not a dataset", where, shown(text)));
      }
    });
  }

  void front_matter() {
    ids("base_model", "CG-BASE", "model");
    ids("datasets", "CG-DATASET", "dataset");
    ids("new_version", "CG-BASE", "model");
    license();
    strings("language", [&](const std::string& text, const std::string& where, std::size_t line) {
      if (!is_language(text)) {
        const std::optional<std::string> better = suggest_language(text);
        add("CG-LANGUAGE", line,
            fmt::format("\"{}\" with value {} is not an ISO 639 code{}", where, shown(text),
                        better ? "; did you mean " + *better : ""));
      } else if (const std::optional<std::string_view> meant = doubted_language(text)) {
        add("CG-DOUBT", line,
            fmt::format("\"{}\": {} is the code of a language that is rarely meant; did you mean {}", where,
                        text, *meant));
      }
    });
    texts();
    types();
    tags();
    if (const YamlValue* index = card_.data.find("model-index")) model_index(*index);
    if (card_.data.find("license") == nullptr) add("CG-NOLICENSE", card_.yaml_line, "no licence is declared");
    if (card_.data.find("base_model") != nullptr && card_.data.find("base_model_relation") == nullptr)
      add("CG-NORELATION", card_.data.find("base_model")->line,
          "the relation to the base model is not stated");
    for (const std::string_view key : {"library_name", "pipeline_tag"}) {
      if (card_.data.find(key) == nullptr)
        add("CG-MISSING", card_.yaml_line,
            fmt::format("{} is missing: the Hub shows no code snippet, and filters skip the model", key));
    }
    for (const YamlValue::Member& member : card_.data.members) dialects(member.value, member.key);
  }

  void license() {
    if (const YamlValue* wrong = card_.data.find("licence"))
      add("CG-LICENCE", wrong->line, "\"licence\" is not a key of the Hub; did you mean license?");
    bool other = false;
    strings("license", [&](const std::string& text, const std::string& where, std::size_t line) {
      other = other || text == "other";
      if (license_name(text)) return;
      const std::optional<std::string> better = suggest_license(text);
      add("CG-LICENSE", line,
          fmt::format("\"{}\" must be one of the Hub's identifiers, not {}{}", where, shown(text),
                      better ? "; did you mean " + *better : ""));
    });
    if (other && (card_.data.find("license_name") == nullptr || card_.data.find("license_link") == nullptr))
      add("CG-OTHER", card_.data.find("license")->line,
          "license: other without license_name and license_link");
    if (const YamlValue* name = card_.data.find("license_name");
        name != nullptr && name->is_string() && !is_slug(name->text))
      add("CG-SLUG", name->line, fmt::format("\"license_name\" is {}, not an identifier", shown(name->text)));
    license_of_base();
    const YamlValue* link = card_.data.find("license_link");
    if (link != nullptr && link->text != "LICENSE" && link->text != "LICENSE.md" &&
        !link->text.starts_with("https://"))
      add("CG-LINK", link->line,
          fmt::format("\"license_link\" must be LICENSE, LICENSE.md or an https address, not {}",
                      shown(link->text)));
  }

  static bool is_slug(std::string_view text) {
    return !text.empty() &&
           text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.+-_") == std::string_view::npos;
  }

  // What a family of base models asks of all that is made from it.
  void license_of_base() {
    const YamlValue* license = card_.data.find("license");
    const YamlValue* bases = card_.data.find("base_model");
    if (license == nullptr || bases == nullptr) return;
    const std::vector<std::string> declared = license->texts();
    for (const std::string& base : bases->texts()) {
      const std::optional<std::string_view> family = family_license(base);
      if (!family || declared.empty() ||
          std::find(declared.begin(), declared.end(), "other") != declared.end() ||
          std::find(declared.begin(), declared.end(), *family) != declared.end())
        continue;
      return add("CG-FAMILY", license->line,
                 fmt::format("the licence is {}, that of the base model {} is {}", shown(declared.front()),
                             shown(base), *family));
    }
  }

  void texts() {
    for (const std::string_view key : {"library_name", "pipeline_tag", "base_model_relation", "license_name",
                                       "thumbnail", "instance_prompt"}) {
      const YamlValue* value = card_.data.find(key);
      if (value != nullptr && !value->is_string())
        add("CG-TYPE", value->line, fmt::format("\"{}\" must be a string", key));
    }
    const YamlValue* task = card_.data.find("pipeline_tag");
    if (task != nullptr && task->is_string() && !is_pipeline_tag(task->text))
      add("CG-TASK", task->line,
          fmt::format("the pipeline tag {} is not in the official list", shown(task->text)));
    const YamlValue* relation = card_.data.find("base_model_relation");
    if (relation != nullptr && !is_relation(relation->text))
      add("CG-RELATION", relation->line,
          fmt::format("\"base_model_relation\" must be one of adapter, merge, quantized, finetune, not {}",
                      shown(relation->text)));
  }

  // Checks keys that hold lists, maps or numbers.
  void types() {
    for (const std::string_view key : {"metrics", "language_bcp47"})
      strings(key, [](const std::string&, const std::string&, std::size_t) {});
    const auto must = [&](std::string_view key, bool good, std::string_view what) {
      const YamlValue* value = card_.data.find(key);
      if (value != nullptr && !good) add("CG-TYPE", value->line, fmt::format("\"{}\" must be {}", key, what));
    };
    const auto kind = [&](std::string_view key) {
      const YamlValue* value = card_.data.find(key);
      return value == nullptr ? Kind::kNull : value->kind;
    };
    must("widget", kind("widget") == Kind::kList, "an array");
    must("buckets", kind("buckets") == Kind::kList, "an array");
    must("extra_gated_fields", kind("extra_gated_fields") == Kind::kMap, "an object");
    must("inference", kind("inference") == Kind::kMap || kind("inference") == Kind::kBool,
         "a boolean or an object");
    const YamlValue* carbon = card_.data.find("co2_eq_emissions");
    const YamlValue* grams =
        carbon != nullptr && carbon->kind == Kind::kMap ? carbon->find("emissions") : carbon;
    must("co2_eq_emissions", grams != nullptr && grams->kind == Kind::kNumber,
         "a number of grams, or an object with one as emissions");
  }

  void tags() {
    const YamlValue* value = card_.data.find("tags");
    if (value == nullptr) return;
    if (value->kind != Kind::kList) return add("CG-TAGS", value->line, "\"tags\" must be an array");
    for (std::size_t i = 0; i < value->items.size(); ++i) {
      const YamlValue& item = value->items[i];
      if (!item.is_string()) add("CG-TYPE", item.line, fmt::format("\"tags[{}]\" must be a string", i));
      if (item.text.find('[') != std::string::npos && item.text.find(']') != std::string::npos)
        add("CG-BRACKET", item.line, fmt::format("the tag {} is one text, not a list", shown(item.text)));
      if (item.text.starts_with("base_model:adapter:") && !is_repo_id(item.text.substr(19)))
        add("CG-PATH", item.line, "the tag does not name a model id: " + shown(item.text));
    }
  }

  // Finds plain scalars that PyYAML (YAML 1.1) and the Hub (YAML 1.2) read as different types.
  void dialects(const YamlValue& value, const std::string& where) {
    for (const YamlValue::Member& member : value.members) dialects(member.value, where + "." + member.key);
    for (std::size_t i = 0; i < value.items.size(); ++i)
      dialects(value.items[i], fmt::format("{}[{}]", where, i));
    if (!value.is_plain) return;
    constexpr std::array<std::string_view, 5> kNames = {"nothing", "a truth value", "a number", "a date",
                                                        "a text"};
    const Kind python = python_kind(value.text);
    if (python != value.kind)
      add("CG-DIALECT", value.line,
          fmt::format("\"{}\": {} is {} for the Hub and {} for Python", where, shown(value.text),
                      kNames[static_cast<std::size_t>(value.kind)],
                      kNames[static_cast<std::size_t>(python)]));
    if (python != value.kind) found_.back().is_fixable = value.is_string();  // otherwise either may be meant
  }

  void require(const YamlValue* value, const std::string& where, Kind kind, std::size_t line) {
    if (value == nullptr) return add("CG-INDEX", line, fmt::format("\"{}\" is required", where));
    if (value->kind != kind)
      add("CG-INDEX", value->line,
          fmt::format("\"{}\" must be a{}", where,
                      kind == Kind::kList  ? "n array"
                      : kind == Kind::kMap ? "n object"
                                           : " string"));
  }

  void model_index(const YamlValue& index) {
    if (index.kind != Kind::kList) return add("CG-INDEX", index.line, "\"model-index\" must be an array");
    for (std::size_t i = 0; i < index.items.size(); ++i) {
      const YamlValue& model = index.items[i];
      const std::string where = fmt::format("model-index[{}]", i);
      require(model.find("name"), where + ".name", Kind::kString, model.line);
      const YamlValue* results = model.find("results");
      require(results, where + ".results", Kind::kList, model.line);
      for (std::size_t j = 0; results != nullptr && j < results->items.size(); ++j)
        index_result(results->items[j], fmt::format("{}.results[{}]", where, j));
    }
  }

  void index_result(const YamlValue& result, const std::string& where) {
    const YamlValue* task = result.find("task");
    require(task, where + ".task", Kind::kMap, result.line);
    if (task != nullptr) require(task->find("type"), where + ".task.type", Kind::kString, task->line);
    const YamlValue* dataset = result.find("dataset");
    require(dataset, where + ".dataset", Kind::kMap, result.line);
    if (dataset != nullptr) {
      require(dataset->find("type"), where + ".dataset.type", Kind::kString, dataset->line);
      require(dataset->find("name"), where + ".dataset.name", Kind::kString, dataset->line);
      for (const std::string_view key : {"config", "split", "revision"}) {
        if (const YamlValue* value = dataset->find(key))
          require(value, fmt::format("{}.dataset.{}", where, key), Kind::kString, value->line);
      }
    }
    const YamlValue* metrics = result.find("metrics");
    require(metrics, where + ".metrics", Kind::kList, result.line);
    for (std::size_t k = 0; metrics != nullptr && k < metrics->items.size(); ++k) {
      const YamlValue& metric = metrics->items[k];
      require(metric.find("type"), fmt::format("{}.metrics[{}].type", where, k), Kind::kString, metric.line);
      if (metric.find("value") == nullptr)
        add("CG-INDEX", metric.line, fmt::format("\"{}.metrics[{}].value\" is required", where, k));
    }
    const YamlValue* source = result.find("source");
    if (source != nullptr) require(source->find("url"), where + ".source.url", Kind::kString, source->line);
  }

  // The name in a line "<!-- card-gen:WHAT NAME -->".
  static std::optional<std::string_view> marked(std::string_view line, std::string_view start) {
    constexpr std::string_view kClose = " -->";
    const std::string_view mark = trim(line);
    if (mark.size() < start.size() + kClose.size() || !mark.starts_with(start) || !mark.ends_with(kClose))
      return std::nullopt;
    return mark.substr(start.size(), mark.size() - start.size() - kClose.size());
  }

  // Finds regions without an end: card-gen -i would not know what is its own.
  void regions(const std::vector<std::string_view>& lines) {
    std::unordered_set<std::string_view> ends;  // names in the lines below
    for (std::size_t i = lines.size(); i-- > 0;) {
      if (const std::optional<std::string_view> name = marked(lines[i], "<!-- card-gen:end "))
        ends.insert(*name);
      const std::optional<std::string_view> name = marked(lines[i], "<!-- card-gen:begin ");
      if (name && !ends.contains(*name))
        add("CG-REGION", i + 1, fmt::format("the region {} is never closed", shown(*name)));
    }
  }

  void body() {
    std::size_t number = 1;
    const std::vector<std::string_view> lines = split(card_.text, '\n');
    regions(lines);
    for (const std::string_view line : lines) {
      check_interrupt();
      if (is_placeholder(line)) add("CG-PLACEHOLDER", number, "a placeholder that nobody has filled in");
      if (line.find("(https://huggingface.co/None)") != std::string_view::npos ||
          line.find("model=\"None\"") != std::string_view::npos)
        add("CG-NONE", number, "a link or a name that is the word None");
      if (find_secret(line)) add("CG-TOKEN", number, "this looks like an access token");
      const bool state = line.starts_with(kCardMark);
      if (!state && has_machine_path(line)) add("CG-PATH", number, "a path on somebody's machine");
      ++number;
    }
  }

  const CardFile& card_;
  std::vector<LintFinding> found_;
};

}  // namespace

std::vector<LintFinding> lint_card(const CardFile& card) {
  return Linter(card).run();
}

}  // namespace mu
