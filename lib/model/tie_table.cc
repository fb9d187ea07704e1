// SPDX-License-Identifier: Apache-2.0
// How the table is read. It is text, built in, and only the lines that concern a model are searched for, so it costs
// nothing before a model is opened. The class leads to its rules; each rule is owned by a config, the whole one
// or one inside it, and that config's flag, found as Transformers finds it (Flags), switches it on. A part
// that an Auto class makes brings the rules of the class which its own config leads to.

#include "model/tie_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "base/text.h"
#include "model/tables.h"

namespace mu {
namespace {

constexpr std::string_view kFlag = "tie_word_embeddings";
constexpr std::size_t kDeepest = 4;  // sub-configs in sub-configs
// Fields of a line "config", see tests/interop/tie_rules.py.
constexpr std::size_t kBaseClass = 3, kFirstSub = 7;

// The fields of the line that begins with `kind` and `name`; empty if there is none.
std::vector<std::string_view> fields_of(std::string_view kind, std::string_view name) {
  if (name.empty()) return {};
  const std::string_view line = find_line(kTies, fmt::format("{}\t{}\t", kind, name));
  return line.empty() ? std::vector<std::string_view>() : split(line, '\t');
}

// Cuts `text` at the first `mark` and returns what is behind it.
std::string_view cut(std::string_view& text, char mark) {
  const std::size_t at = text.find(mark);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = text.substr(at + 1);
  text = text.substr(0, at);
  return rest;
}

struct Flag {
  bool on = false;
  bool settable = true;  // by writing false to all `places`
  std::vector<std::vector<std::string>> places{};
};

// What the config says and, where it does not say it, what its class in Transformers does.
class Flags {
 public:
  // Of the config of a type; `path` leads to it from the whole config.
  Flag of(const JsonValue& config, std::string_view type, std::vector<std::string> path) const {
    const std::vector<std::string_view> line = fields_of("config", type);
    std::string_view form = line.size() < kFirstSub ? "no" : line[2];
    if (form == "always") return {true, false, {}};
    if (form == "never") return {};
    std::string_view key = kFlag;
    const std::string_view sub = cut(form, '|');
    if (form.starts_with("key:")) {
      form.remove_prefix(4);
      const std::string_view fallback = cut(form, ':');
      key = form;
      form = fallback;
    }
    const JsonValue* const stated = config.find(key);
    Flag flag{.on = form == "yes"};
    if (stated != nullptr && form != "sub") flag.on = stated->as_bool().value_or(false);
    const bool asks = !sub.empty() && !flag.on && (form != "unset" || !is_stated(stated));
    std::vector<std::string> place = path;
    place.emplace_back(key);
    flag.places.push_back(std::move(place));
    if (!asks) return flag;
    Flag below = of_sub(config, line, sub, std::move(path));
    below.places.insert(below.places.begin(), std::move(flag.places.front()));
    return below;
  }

  // The type of the config below a key.
  static std::string_view type_of(const JsonValue& config, std::string_view type, std::string_view key) {
    const JsonValue* const sub = config.find(key);
    const std::string* const stated = sub == nullptr ? nullptr : sub->find_string("model_type");
    if (stated != nullptr) return *stated;
    const std::vector<std::string_view> line = fields_of("config", type);
    for (std::size_t i = kFirstSub; i < line.size(); ++i) {
      std::string_view name = line[i];
      std::string_view its = cut(name, '=');
      cut(its, ':');
      if (name == key) return its;
    }
    return {};
  }

  // Of the config that owns a rule, by its path in the whole one, "text_config".
  Flag of_owner(const JsonValue& root, std::string_view type, std::string_view owner) const {
    if (owner.empty()) return of(root, type, {});
    return of_sub(root, fields_of("config", type), owner, {});
  }

 private:
  static bool is_stated(const JsonValue* value) {
    return value != nullptr && value->kind() != JsonValue::Kind::kNull;
  }

  // `line` is the parent's.
  Flag of_sub(const JsonValue& config, const std::vector<std::string_view>& line, std::string_view owner,
              std::vector<std::string> path) const {
    if (path.size() >= kDeepest) return {};
    const std::string_view deeper = cut(owner, '.');
    for (std::size_t i = kFirstSub; i < line.size(); ++i) {
      std::string_view name = line[i];
      std::string_view type = cut(name, '=');
      const std::string_view fallback = cut(type, ':');
      if (name != owner) continue;
      const JsonValue* const sub = config.find(name);
      if (sub == nullptr || !sub->is_object()) return {fallback == "yes", false, {}};
      const std::string* const stated = sub->find_string("model_type");
      if (fallback == "parent") return of(config, line[1], std::move(path));
      path.emplace_back(name);
      const std::string_view its = stated == nullptr ? type : std::string_view(*stated);
      return deeper.empty() ? of(*sub, its, std::move(path))
                            : of_sub(*sub, fields_of("config", its), deeper, std::move(path));
    }
    return {};
  }
};

// The ways in which files spell a rule of the table, "target>source|target>source": those it names and, since
// loaders add and remove it, without and with the prefix of the base model.
std::vector<TieNames> spellings_of(std::string_view rule, std::string_view prefix) {
  std::vector<TieNames> names;
  for (std::string_view target : split(rule, '|')) {
    const std::string_view source = cut(target, '>');
    names.push_back({std::string(target), std::string(source)});
  }
  if (prefix.empty() || prefix == "-") return names;
  const std::string begin = std::string(prefix) + ".";
  const auto bare = [&begin](const std::string& name) {
    return name.starts_with(begin) ? name.substr(begin.size()) : name;
  };
  const std::size_t count = names.size();
  for (std::size_t i = 0; i < count; ++i) {
    const TieNames known = names[i];
    const bool has = known.target.starts_with(begin) || known.source.starts_with(begin);
    names.push_back(has ? TieNames{bare(known.target), bare(known.source)}
                        : TieNames{begin + known.target, begin + known.source});
  }
  return names;
}

// A condition is a key of the config and its default, "?share_embeddings:yes"; "!" is its opposite.
bool holds(std::string_view condition, const JsonValue& config) {
  if (condition.empty()) return true;
  const bool wanted = condition.front() == '?';
  condition.remove_prefix(1);
  const bool fallback = cut(condition, ':') == "yes";
  const JsonValue* const value = config.find(condition);
  const bool is = value == nullptr ? fallback : value->as_bool().value_or(fallback);
  return is == wanted;
}

// "layers.~num_mem_blocks:1.x" with the number that the config gives: "layers.~2.x".
std::string with_number(std::string_view rule, const JsonValue* config) {
  const std::size_t at = rule.find('~'), colon = rule.find(':', at);
  if (at == std::string_view::npos || colon == std::string_view::npos) return std::string(rule);
  const std::string_view key = rule.substr(at + 1, colon - at - 1);
  const std::size_t end = std::min(rule.find('.', colon), rule.size());
  std::string number(rule.substr(colon + 1, end - colon - 1));
  if (const std::optional<std::uint64_t> given = config == nullptr ? std::nullopt : config->find_u64(key))
    number = fmt::format("{}", *given);
  return fmt::format("{}~{}{}", rule.substr(0, at), number, rule.substr(end));
}

// Collects the rules of a class, those of its parts included.
class RuleReader {
 public:
  // Without a config all rules are on.
  RuleReader(TieRules& result, const JsonValue* config) : result_(result), config_(config) {}

  void read(const std::vector<std::string_view>& line, std::string_view prefix, std::string_view type) {
    enter("", type);
    for (std::size_t i = 2; i < line.size(); ++i) {
      std::string_view rule = line[i];
      if (rule.starts_with('@')) {
        rule.remove_prefix(1);
        std::string_view part = cut(rule, '=');
        enter(rule, type);
        if (!part.empty() && config_ != nullptr) read_part(part, rule, type);
        continue;
      }
      const std::size_t mark = rule.find_first_of("?!");
      const std::string_view condition = mark == std::string_view::npos ? "" : rule.substr(mark);
      if (config_ == nullptr || holds(condition, *config_))
        add(spellings_of(with_number(rule.substr(0, mark), config_), prefix));
    }
  }

 private:
  void enter(std::string_view owner, std::string_view type) {
    flag_ = Flag{.on = true};
    if (config_ != nullptr) flag_ = Flags().of_owner(*config_, type, owner);
    counted_ = false;
  }

  void add(std::vector<TieNames> names) {
    result_.rules.push_back({std::move(names), flag_.on});
    if (!flag_.on || counted_) return;
    counted_ = true;
    result_.can_untie = result_.can_untie && flag_.settable;
    result_.switches.insert(result_.switches.end(), flag_.places.begin(), flag_.places.end());
  }

  // `part` is KINDS:PREFIX; its class is the first that one of these Auto classes makes of the config there.
  void read_part(std::string_view part, std::string_view owner, std::string_view type) {
    const std::string_view begin = cut(part, ':');
    const std::vector<std::string_view> config = fields_of("config", Flags::type_of(*config_, type, owner));
    if (config.size() < kFirstSub) return;
    for (const std::string_view kind : split(part, ',')) {
      const std::size_t field = kBaseClass + (kind == "causal" ? 1U : kind == "seq2seq" ? 2U : 3U);
      const std::vector<std::string_view> found = fields_of("class", config[field]);
      if (found.size() < 6) continue;
      for (const std::string_view rule : split_rules(found[4])) {
        std::vector<TieNames> names =
            spellings_of(with_number(rule.substr(0, rule.find_first_of("?!")), nullptr), found[3]);
        for (TieNames& pair : names)
          pair = {std::string(begin) + pair.target, std::string(begin) + pair.source};
        add(std::move(names));
      }
      return;
    }
  }

  // The rules with that number; only those that the class itself owns.
  static std::vector<std::string_view> split_rules(std::string_view id) {
    std::vector<std::string_view> rules = fields_of("rules", id);
    rules.erase(rules.begin(), rules.begin() + std::min<std::ptrdiff_t>(2, std::ssize(rules)));
    rules.erase(
        std::find_if(rules.begin(), rules.end(), [](std::string_view rule) { return rule.starts_with('@'); }),
        rules.end());
    return rules;
  }

  TieRules& result_;
  const JsonValue* config_;
  Flag flag_;
  bool counted_ = false;
};

// True where a config names Python files for the model, so that a class of the same name may be another.
bool has_own_code(const JsonValue& root) {
  const JsonValue* const map = root.find("auto_map");
  if (map == nullptr) return false;
  return std::any_of(map->members().begin(), map->members().end(), [](const JsonValue::Member& member) {
    return member.key == "AutoConfig" || member.key.starts_with("AutoModel");
  });
}

}  // namespace

TieRules tie_rules_of(const ModelConfig& config) {
  TieRules result;
  std::string name = config.architectures.empty() ? "" : config.architectures.front();
  if (has_own_code(config.root)) {
    result.why = "the model has code of its own (auto_map)";
    return result;
  }
  if (name.empty()) {
    const std::vector<std::string_view> line = fields_of("config", config.model_type);
    if (line.size() >= kFirstSub && line[kBaseClass] != "-") name = line[kBaseClass];
  }
  if (name.empty()) {
    result.why = "config.json names no class that Transformers knows";
    return result;
  }
  const std::vector<std::string_view> line = fields_of("class", name);
  if (line.size() < 6) {
    result.why = fmt::format("no rule of Transformers ties them in {}", escape_name(name));
    return result;
  }
  if (line[5] != "-" && !config.tie_word_embeddings.value_or(false)) {
    for (const std::string_view head : split(line[5], '|')) result.heads.emplace_back(head);
  }
  RuleReader(result, &config.root).read(fields_of("rules", line[4]), line[3], line[2]);
  const bool on =
      std::any_of(result.rules.begin(), result.rules.end(), [](const TieRule& rule) { return rule.on; });
  result.why = on ? fmt::format("no rule of Transformers ties them in {}", escape_name(name))
                  : "config.json does not tie them";
  return result;
}

TieRules tie_rules_of_any_class() {
  TieRules all, result;
  for (const std::string_view line : split(kTies, '\n')) {
    if (line.starts_with("rules\t")) RuleReader(all, nullptr).read(split(line, '\t'), "-", "");
  }
  std::set<std::pair<std::string, std::string>> seen;
  for (const TieRule& rule : all.rules) {
    for (const TieNames& names : rule.names) {
      if (seen.emplace(names.target, names.source).second) result.rules.push_back({{names}, true});
    }
  }
  return result;
}

}  // namespace mu
