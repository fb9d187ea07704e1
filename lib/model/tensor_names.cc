// SPDX-License-Identifier: Apache-2.0
// Rules are applied as transformers does it: a rule's patterns are searched as one alternation, the longest first, and
// the first occurrence of the text that matched is replaced, wherever the match was. To load, all renamings act in
// turn and then at most one conversion; to save, the conversion comes first. Which side a name is on is told by
// prefixes that the other side never has: asking whether the rules undo each other can't tell, since published names
// are often the beginning of other published names (language_model.model.…).
#include "model/tensor_names.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/regex.h"
#include "base/text.h"

namespace mu {
namespace {

std::string replaced(std::string text, std::string_view what, std::string_view with) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size()))
    text.replace(at, what.size(), with);
  return text;
}

// The expression that transformers makes of a pattern: "*." is any text up to a dot, and a pattern that ends in a
// letter or digit ends there.
std::string expression_of(const std::string& pattern) {
  std::string text = replaced(pattern, "*.", ".*\\.");
  const auto last = static_cast<unsigned char>(text.empty() ? '.' : text.back());
  if ((last >= '0' && last <= '9') || (last >= 'A' && last <= 'Z') || (last >= 'a' && last <= 'z'))
    text += "(?!\\w)";
  return text;
}

bool is_number(std::string_view component) {
  return component == "*" || is_digits(component);
}

// True if the name is, or begins with, one of the prefixes, by whole components.
bool has_prefix(std::string_view name, const std::vector<std::string>& prefixes) {
  const std::vector<std::string_view> parts = split(name, '.');
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& prefix) {
    const std::vector<std::string_view> wanted = split(prefix, '.');
    if (wanted.size() > parts.size()) return false;
    return std::equal(wanted.begin(), wanted.end(), parts.begin(),
                      [](std::string_view want, std::string_view part) {
                        return want == "*" ? is_number(part) : want == part;
                      });
  });
}

// The longest text that every match of a pattern holds; empty if nothing shows. It is looked for first, since most
// rules don't match most names.
std::string literal_of(std::string_view pattern) {
  std::string longest, run;
  const auto end_run = [&] {
    if (run.size() > longest.size()) longest = run;
    run.clear();
  };
  int depth = 0;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    char c = pattern[i];
    if (c == '|') return "";
    const bool escaped = c == '\\' && i + 1 < pattern.size();
    if (escaped) c = pattern[++i];
    const bool letter =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    if (!escaped && c == '[') return "";  // none of the table's; sets may hold any of the others
    if (!escaped && c == '(') ++depth;
    if (!escaped && c == ')') --depth;
    const char next = i + 1 < pattern.size() ? pattern[i + 1] : '\0';
    const bool repeats = next == '*' || next == '+' || next == '?' || next == '{';
    if (depth == 0 && !repeats && (escaped ? c == '.' : letter))
      run += c;
    else
      end_run();
  }
  end_run();
  return longest;
}

// One rule, with its patterns prepared.
class PreparedRule {
 public:
  explicit PreparedRule(const NameRule& rule) : rule_(rule) {
    for (const std::string& pattern : rule.match) {
      patterns_.emplace_back(expression_of(pattern));
      literals_.push_back(literal_of(pattern));
    }
  }

  [[nodiscard]] const NameRule& rule() const { return rule_; }

  // The name that the rule makes, if it matches; sets `pattern` to the number of the one that did. `seen`: whether the
  // first pattern of a group has matched already.
  [[nodiscard]] std::optional<std::string> apply(const std::string& name, RegexBudget& budget,
                                                 std::size_t& pattern,
                                                 std::vector<bool>::reference seen) const {
    std::string_view prefix;
    if (rule_.is_scoped) {
      const std::string scope = rule_.scope.empty() ? "" : rule_.scope + ".";
      const std::string whole = (rule_.base.empty() ? "" : rule_.base + ".") + scope;
      if (!name.starts_with(whole) && !name.starts_with(scope)) return std::nullopt;
      prefix = std::string_view(name).substr(0, name.starts_with(whole) ? whole.size() : scope.size());
    }
    const std::string rest = name.substr(prefix.size());
    const std::optional<Found> found = search(rest, budget);
    if (!found) return std::nullopt;
    const bool group = rule_.kind == NameRule::Kind::kGroup;
    if (group && found->pattern > 0 && !seen) return std::nullopt;
    if (group) seen = true;
    pattern = found->pattern;
    const std::string to =
        replaced(rule_.to[group ? found->pattern : 0], "\\1", number_or_text(found->group));
    // The first occurrence of the text, wherever it matched.
    std::string result = rest;
    result.replace(rest.find(found->text), found->text.size(), to);
    return std::string(prefix) + result;
  }

 private:
  struct Found {
    std::size_t pattern = 0, begin = 0;
    std::string text, group;
  };

  // As one alternation of all patterns, the longest first, would find it.
  [[nodiscard]] std::optional<Found> search(const std::string& text, RegexBudget& budget) const {
    std::optional<Found> best;
    for (std::size_t i = 0; i < patterns_.size(); ++i) {
      if (text.find(literals_[i]) == std::string::npos) continue;
      const std::optional<RegexMatch> match = patterns_[i].search(text, budget);
      if (!match) continue;
      const bool better =
          !best || match->begin < best->begin ||
          (match->begin == best->begin && rule_.match[i].size() > rule_.match[best->pattern].size());
      if (!better) continue;
      best = Found{i, match->begin, text.substr(match->begin, match->end - match->begin),
                   match->groups.empty() ? "" : std::string(match->groups.front().value_or(""))};
    }
    return best;
  }

  [[nodiscard]] std::string number_or_text(const std::string& group) const {
    if (rule_.kind != NameRule::Kind::kOffset) return group;
    int number = 0;
    const bool fits = std::from_chars(group.data(), group.data() + group.size(), number).ec == std::errc();
    return fits ? std::to_string(std::int64_t{number} + rule_.offset) : group;
  }

  NameRule rule_;
  std::vector<Regex> patterns_;
  std::vector<std::string> literals_;
};

}  // namespace

// Names come from files, so that matching them has a limit; a model of 100,000 tensors takes a fraction of it.
constexpr std::uint64_t kBudget = 60 * RegexBudget::kSecond;

class NameRules {
 public:
  NameRules(const std::vector<NameRule>& rules, bool saves) : saves_(saves), budget_(kBudget) {
    for (const NameRule& rule : rules) rules_.emplace_back(rule);
  }

  // Which groups were seen. A name on its own is saved from a whole model, so that the first of its group is there;
  // names to load may be anybody's.
  [[nodiscard]] std::vector<bool> seen_alone() const { return std::vector<bool>(rules_.size(), saves_); }
  [[nodiscard]] std::vector<bool> none_seen() const { return std::vector<bool>(rules_.size(), false); }

  // To save, at most one conversion and then all renamings, each on the result of the one before; to load, the
  // other way round.
  [[nodiscard]] RenamedTensor apply(std::string_view text) const {
    std::vector<bool> seen = seen_alone();
    RenamedTensor result{.name = std::string(text)};
    if (saves_) convert(result, seen);
    rename(result.name, seen);
    if (!saves_) convert(result, seen);
    return result;
  }

  void rename(std::string& name, std::vector<bool>& seen) const {
    for (std::size_t i = 0; i < rules_.size(); ++i) {
      if (rules_[i].rule().kind == NameRule::Kind::kConvert) continue;
      std::size_t pattern = 0;
      if (std::optional<std::string> renamed = rules_[i].apply(name, budget_, pattern, seen[i]))
        name = std::move(*renamed);
    }
  }

  void convert(RenamedTensor& result, std::vector<bool>& seen) const {
    for (std::size_t i = 0; i < rules_.size(); ++i) {
      if (rules_[i].rule().kind != NameRule::Kind::kConvert) continue;
      std::optional<std::string> renamed = rules_[i].apply(result.name, budget_, result.pattern, seen[i]);
      if (!renamed) continue;
      result.name = std::move(*renamed);
      result.conversion = &rules_[i].rule();
      return;
    }
  }

 private:
  bool saves_;
  mutable RegexBudget budget_;
  std::vector<PreparedRule> rules_;
};

NamePass::NamePass(const TensorNames& names, bool saves)
    : rules_(names.rules(saves)), saves_(saves), seen_(rules_.none_seen()) {}

RenamedTensor NamePass::next(std::string_view name) {
  RenamedTensor result{.name = std::string(name)};
  if (saves_) rules_.convert(result, seen_);
  if (saves_ && result.conversion != nullptr) return result;
  rules_.rename(result.name, seen_);
  if (!saves_) rules_.convert(result, seen_);
  return result;
}

std::string NamePass::finish(std::string_view name) {
  std::string result(name);
  rules_.rename(result, seen_);
  return result;
}

TensorNames::TensorNames(NameClass one)
    : class_(std::move(one)),
      save_(std::make_unique<const NameRules>(class_.save, true)),
      load_(std::make_unique<const NameRules>(class_.load, false)) {}

TensorNames::~TensorNames() = default;

std::shared_ptr<const TensorNames> TensorNames::of(const ModelConfig& config) {
  if (config.root.find("auto_map") != nullptr) return nullptr;
  std::optional<NameClass> found;
  if (!config.architectures.empty()) {
    found = find_name_class(config.architectures.front());
  } else {
    found = find_name_class_of_type(config.model_type);
  }
  return found ? std::make_shared<const TensorNames>(std::move(*found)) : nullptr;
}

std::string TensorNames::published(std::string_view memory_name) const {
  return save_->apply(memory_name).name;
}

std::string TensorNames::memory(std::string_view published_name) const {
  return load_->apply(published_name).name;
}

RenamedTensor TensorNames::load(std::string_view published_name) const {
  return load_->apply(published_name);
}

RenamedTensor TensorNames::save(std::string_view memory_name) const {
  return save_->apply(memory_name);
}

NameSide TensorNames::side_of(std::string_view name) const {
  if (class_.memory.empty() && class_.published.empty()) return NameSide::kNeutral;
  if (has_prefix(name, class_.memory)) return NameSide::kMemory;
  if (has_prefix(name, class_.published)) return NameSide::kPublished;
  return published(name) == name ? NameSide::kNeutral : NameSide::kForeign;
}

TensorNames::Counts TensorNames::side_of(const std::vector<Tensor>& tensors) const {
  Counts counts;
  const auto add = [](std::size_t& count, std::string& first, const std::string& name) {
    if (count++ == 0) first = name;
  };
  for (const Tensor& tensor : tensors) {
    switch (class_.is_automatic ? side_of(tensor.name) : NameSide::kNeutral) {
      case NameSide::kNeutral:
        ++counts.neutral;
        break;
      case NameSide::kMemory:
        add(counts.memory, counts.a_memory, tensor.name);
        break;
      case NameSide::kPublished:
        add(counts.published, counts.a_published, tensor.name);
        break;
      case NameSide::kForeign:
        add(counts.foreign, counts.a_foreign, tensor.name);
        break;
    }
  }
  return counts;
}

}  // namespace mu
