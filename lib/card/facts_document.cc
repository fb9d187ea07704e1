// SPDX-License-Identifier: Apache-2.0
// Facts from the documents that --facts takes: what st-inspect --json says about a model, and what card-gen --json
// printed (report.cc), so that facts can be gathered on one machine and the card written on another.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/json.h"
#include "card/facts.h"

namespace mu {
namespace {

// A value as a card shows it: text, a number, or a truth value.
std::string value_text(const JsonValue& value) {
  if (const std::string* text = value.as_string()) return *text;
  if (const std::optional<bool> truth = value.as_bool()) return *truth ? "true" : "false";
  return value.kind() == JsonValue::Kind::kNumber ? value.number_text() : std::string();
}

const std::vector<JsonValue>& list(const JsonValue& root, std::string_view key) {
  static const std::vector<JsonValue> none;
  const JsonValue* value = root.find(key);
  return value == nullptr ? none : value->items();
}

void add_fact(CardFacts& facts, const JsonValue& item) {
  const std::string* name = item.find_string("name");
  const JsonValue* value = item.find("value");
  if (name == nullptr || value == nullptr) return;
  const std::string* said = item.find_string("source");
  const std::string source = said == nullptr ? "--facts" : "--facts: " + *said;
  if (value->is_array()) {
    std::vector<std::string> texts;
    for (const JsonValue& text : value->items()) texts.push_back(value_text(text));
    facts.add_list(*name, texts, source);
  } else if (const std::optional<double> number = value->as_double()) {
    facts.add_number(*name, *number, source);
  } else {
    facts.add(*name, value_text(*value), source);
  }
}

// "number" and "boolean" stand beside the text that documents of older releases have alone.
void add_hyperparameter(CardFacts& facts, const JsonValue& item) {
  const std::string* name = item.find_string("name");
  if (name == nullptr) return;
  UsedHyperparameter used;
  used.name = *name;
  for (const std::string_view key : {"value", "number", "boolean"}) {
    if (const JsonValue* value = item.find(key); value != nullptr && used.value.empty())
      used.value = value_text(*value);
  }
  if (const std::string* fallback = item.find_string("default")) used.fallback = *fallback;
  used.differs = item.find_true("differs");
  facts.hyperparameters.push_back(std::move(used));
}

std::optional<double> number_of(const JsonValue& item, std::string_view key) {
  const JsonValue* value = item.find(key);
  return value == nullptr ? std::nullopt : value->as_double();
}

void add_evaluations(CardFacts& facts, const JsonValue& root) {
  for (const JsonValue& item : list(root, "evaluations")) {
    for (const JsonValue::Member& member : item.members()) {
      const bool known = member.key == "step" ||
                         std::find(facts.eval_columns.begin(), facts.eval_columns.end(), member.key) !=
                             facts.eval_columns.end();
      if (!known && facts.eval_columns.size() < 100) facts.eval_columns.push_back(member.key);
    }
  }
  for (const JsonValue& item : list(root, "evaluations")) {
    EvalRow row{item.find_u64("step").value_or(0), std::nullopt, {}};
    for (const std::string& column : facts.eval_columns) row.values.push_back(number_of(item, column));
    facts.evaluations.push_back(std::move(row));
  }
}

// Points of a curve. A number that was none is written as null.
std::vector<CurvePoint> points_of(const JsonValue& root, std::string_view key, std::string_view value) {
  std::vector<CurvePoint> points;
  for (const JsonValue& item : list(root, key))
    points.push_back({item.find_u64("step").value_or(0), number_of(item, "epoch"),
                      number_of(item, value).value_or(std::nan(""))});
  return points;
}

void add_metrics(CardFacts& facts, const JsonValue& root) {
  for (const JsonValue& item : list(root, "metrics")) {
    const std::string *metric = item.find_string("metric"), *label = item.find_string("label");
    if (metric == nullptr || label == nullptr) continue;
    facts.metrics.push_back({*metric, *label, points_of(item, "points", "value")});
    facts.metrics_first = facts.metrics_first || item.find_true("leads");
  }
}

void add_results(CardFacts& facts, const JsonValue& root) {
  for (const JsonValue& item : list(root, "results")) {
    const std::string *task = item.find_string("task"), *metric = item.find_string("metric");
    const std::optional<double> value = number_of(item, "value");
    if (task == nullptr || metric == nullptr || !value) continue;
    const std::string* shots = item.find_string("shots");
    facts.results.push_back({*task, *metric, *value, number_of(item, "error"), shots == nullptr ? "" : *shots,
                             item.find_true("benchmark"), item.find_true("given")});
  }
}

void add_own_facts(CardFacts& facts, const JsonValue& root) {
  for (const JsonValue& item : list(root, "facts")) add_fact(facts, item);
  if (facts.hyperparameters.empty()) {
    for (const JsonValue& item : list(root, "hyperparameters")) add_hyperparameter(facts, item);
  }
  if (facts.train_curve.empty() && facts.metrics.empty()) {
    facts.train_curve = points_of(root, "train_loss", "loss");
    add_metrics(facts, root);
  }
  if (facts.results.empty()) add_results(facts, root);
  if (facts.evaluations.empty() && facts.eval_columns.empty()) {
    for (const JsonValue& item : list(root, "evaluation_sets")) facts.eval_sets.push_back(value_text(item));
    add_evaluations(facts, root);
    if (const std::optional<double> best = facts.number("best_step"); best && *best >= 0 && *best < 1e15)
      facts.best_step = static_cast<std::uint64_t>(*best);
  }
}

}  // namespace

void add_inspection(CardFacts& facts, std::string_view json) {
  const JsonDocument document = parse_json(json);
  const JsonValue& root = document.root;
  const std::string* schema = root.find_string("schema");
  if (schema != nullptr && schema->starts_with("modelutils.card-gen/")) return add_own_facts(facts, root);
  if (schema == nullptr || !schema->starts_with("modelutils.st-inspect/"))
    throw malformed("--facts takes the output of st-inspect --json or card-gen --json");
  constexpr std::string_view kSource = "st-inspect";
  const JsonValue* adapter = root.find("adapter");
  if (adapter != nullptr) {
    facts.add("kind", "adapter", kSource);
    if (const std::string* type = adapter->find_string("peft_type")) facts.add("peft_type", *type, kSource);
    const JsonValue* rank = adapter->find("r");
    const JsonValue* alpha = adapter->find("lora_alpha");
    const std::optional<double> r = rank == nullptr ? std::nullopt : rank->as_double();
    const std::optional<double> a = alpha == nullptr ? std::nullopt : alpha->as_double();
    if (r) facts.add_number("lora_r", *r, kSource);
    if (a) facts.add_number("lora_alpha", *a, kSource);
  }
  if (const std::string* path = root.find_string("path"); path != nullptr && *path != "-") {
    std::string_view name = *path;
    while (name.ends_with('/')) name.remove_suffix(1);
    name.remove_prefix(name.rfind('/') + 1);
    // Only a folder has the name of the model; a file or "." shows nothing.
    if (root.find("files") != nullptr && !name.empty() && name != "." && name != "..")
      facts.add("folder_name", std::string(name), kSource);
  }
  if (const JsonValue* list = root.find("architectures"); list != nullptr && !list->items().empty()) {
    if (const std::string* text = list->items().front().as_string())
      facts.add("architecture", *text, kSource);
  }
  if (const std::string* type = root.find_string("model_type")) facts.add("model_type", *type, kSource);
  for (const std::string_view key : {"parameters", "bytes"}) {
    if (const std::optional<std::uint64_t> number = root.find_u64(key))
      facts.add_number(adapter != nullptr && key == "parameters" ? "adapter_parameters" : key,
                       static_cast<double>(*number), kSource);
  }
  if (const JsonValue* list = root.find("dtypes")) {
    std::vector<std::string> dtypes;
    for (const JsonValue& item : list->items()) {
      if (const std::string* name = item.find_string("dtype")) dtypes.push_back(*name);
    }
    facts.add_list("dtypes", dtypes, kSource);
  }
  if (const JsonValue* run = root.find("checkpoint"); run != nullptr && run->is_object()) {
    if (const std::optional<std::uint64_t> step = run->find_u64("step"))
      facts.add_number("global_step", static_cast<double>(*step), kSource);
  }
}

}  // namespace mu
