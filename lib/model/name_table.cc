// SPDX-License-Identifier: Apache-2.0
// The table is text, in lines of fields between tabs, and each look-up searches it:
//
//   class   NAME    MODEL_TYPE  SET  SIDE or -  auto or never
//   plain   MODEL_TYPE   NAME …             (classes that rename nothing)
//   embeddings  LEAF …                      (last components of nn.Embedding alone)
//   peft    MODEL_TYPE   LEAF …             (what PEFT turns into parameters of experts)
//   set     NUMBER  RULES of save           RULES of load
//   side    NUMBER  PREFIXES in memory      PREFIXES in files
//   rule    NUMBER  KIND  MATCH …  TO …  [scope=BASE/SCOPE] [offset=N] [op=NAME:KEY=VALUE:…] …
//
// Lists are between blanks. It has 500 KB; one class costs a few searches of it, below a millisecond.

#include "model/name_table.h"

#include <charconv>
#include <stdexcept>

#include "base/text.h"
#include "model/tables.h"

namespace mu {

namespace {

using Fields = std::vector<std::string_view>;

// The fields of the line that begins so, without its beginning; empty if there is none.
Fields line_of(const std::string& beginning) {
  const std::string_view line = find_line(kTensorNames, beginning);
  return line.empty() ? Fields() : split(line.substr(beginning.size()), '\t');
}

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> list;
  if (text.empty()) return list;
  for (const std::string_view word : split(text, ' ')) list.emplace_back(word);
  return list;
}

// "KEY=VALUE" in two.
std::pair<std::string, std::string> pair_of(std::string_view text) {
  const std::size_t equals = text.find('=');
  return {std::string(text.substr(0, equals)), std::string(text.substr(equals + 1))};
}

NameOperation operation_of(std::string_view text) {
  const std::vector<std::string_view> parts = split(text, ':');
  NameOperation operation{.name = std::string(parts.front()), .values = {}};
  for (std::size_t i = 1; i < parts.size(); ++i) operation.values.push_back(pair_of(parts[i]));
  return operation;
}

NameRule rule_of(std::string_view number) {
  const Fields fields = line_of("rule\t" + std::string(number) + "\t");
  NameRule rule;
  if (fields.size() < 3) throw std::logic_error("the table of names lacks a rule");
  using Kind = NameRule::Kind;
  rule.kind = fields[0] == "convert"  ? Kind::kConvert
              : fields[0] == "group"  ? Kind::kGroup
              : fields[0] == "offset" ? Kind::kOffset
                                      : Kind::kRename;
  rule.match = words(fields[1]);
  rule.to = words(fields[2]);
  if (rule.to.empty()) rule.to.emplace_back();  // what matches is taken away
  for (std::size_t i = 3; i < fields.size(); ++i) {
    const auto [key, value] = pair_of(fields[i]);
    if (key == "scope") {
      const std::size_t slash = value.find('/');
      rule.is_scoped = true;
      rule.base = value.substr(0, slash);
      rule.scope = value.substr(slash + 1);
    } else if (key == "offset") {
      std::from_chars(value.data(), value.data() + value.size(), rule.offset);
    } else {
      rule.operations.push_back(operation_of(value));
    }
  }
  return rule;
}

std::vector<NameRule> rules_of(std::string_view numbers) {
  std::vector<NameRule> rules;
  for (const std::string& number : words(numbers)) rules.push_back(rule_of(number));
  return rules;
}

bool is_class_name(std::string_view name) {
  return !name.empty() && name.find_first_of("\t\n ") == std::string_view::npos;
}

}  // namespace

std::optional<NameClass> find_name_class(std::string_view architecture) {
  if (!is_class_name(architecture)) return std::nullopt;
  const Fields fields = line_of("class\t" + std::string(architecture) + "\t");
  if (fields.size() != 4) return std::nullopt;
  NameClass found;
  found.name = architecture;
  found.model_type = fields[0];
  found.is_automatic = fields[3] == "auto";
  const Fields set = line_of("set\t" + std::string(fields[1]) + "\t");
  if (set.size() != 2) throw std::logic_error("the table of names lacks a set");
  found.save = rules_of(set[0]);
  found.load = rules_of(set[1]);
  if (const Fields side = line_of("side\t" + std::string(fields[2]) + "\t"); side.size() == 2) {
    found.memory = words(side[0]);
    found.published = words(side[1]);
  }
  return found;
}

std::optional<NameClass> find_name_class_of_type(std::string_view model_type) {
  if (!is_class_name(model_type)) return std::nullopt;
  const std::string field = "\t" + std::string(model_type) + "\t";
  std::string name, rules;
  for (std::size_t at = kTensorNames.find(field); at != std::string_view::npos;
       at = kTensorNames.find(field, at + 1)) {
    const std::size_t line = kTensorNames.rfind('\n', at) + 1, end = at + field.size();
    const Fields fields = split(kTensorNames.substr(line, at - line), '\t');
    if (fields.size() != 2 || fields[0] != "class") continue;
    const std::string own(kTensorNames.substr(end, kTensorNames.find('\n', end) - end));
    if (!name.empty() && own != rules) return std::nullopt;
    name = fields[1];
    rules = own;
  }
  return find_name_class(name);
}

namespace {

// Whether the one line of that kind lists the word.
bool lists(std::string_view kind, std::string_view word) {
  if (!is_class_name(word)) return false;
  const Fields fields = line_of(std::string(kind) + "\t");
  return !fields.empty() && fields[0].find(" " + std::string(word) + " ") != std::string_view::npos;
}

}  // namespace

bool is_plain_class(std::string_view architecture) {
  if (!is_class_name(architecture)) return false;
  const std::string word = " " + std::string(architecture) + " ";
  for (std::size_t at = kTensorNames.find(word); at != std::string_view::npos;
       at = kTensorNames.find(word, at + 1)) {
    const std::size_t line = kTensorNames.rfind('\n', at) + 1;
    if (kTensorNames.substr(line).starts_with("plain\t")) return true;
  }
  return false;
}

bool is_plain_type(std::string_view model_type) {
  if (!is_class_name(model_type)) return false;
  const std::string field = "\t" + std::string(model_type) + "\t";
  // No line of a class that renames has the type.
  const std::size_t at = kTensorNames.find("plain" + field);
  return at != std::string_view::npos && kTensorNames.find(field) > at;
}

bool is_embedding_layer(std::string_view leaf) {
  return lists("embeddings", leaf);
}

bool becomes_expert_parameter(std::string_view model_type, std::string_view leaf) {
  return is_class_name(model_type) && lists("peft\t" + std::string(model_type), leaf);
}

}  // namespace mu
