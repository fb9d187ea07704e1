// SPDX-License-Identifier: Apache-2.0
#include "card/report.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <system_error>

#include "base/json_write.h"
#include "base/text.h"

namespace mu {
namespace {

void write_optional(JsonWriter& json, std::string_view name, const std::optional<double>& value) {
  json.key(name);
  value ? json.value(*value) : json.null();
}

// The value once more as what it is, for programs that compute with it.
void write_typed(JsonWriter& json, std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text == "true" || text == "false") {
    json.member("boolean", text == "true");
  } else if (error == std::errc() && end == text.data() + text.size() && std::isfinite(number)) {
    json.key("number").raw(fmt::format("{}", number));
  }
}

void write_curve(JsonWriter& json, const MetricCurve& curve, bool leads) {
  json.begin_object().member("metric", curve.metric).member("label", curve.label).member("leads", leads);
  json.key("points").begin_array();
  for (const CurvePoint& point : curve.points) {
    json.begin_object().member("step", point.step);
    write_optional(json, "epoch", point.epoch);
    json.member("value", point.value).end_object();
  }
  json.end_array().end_object();
}

void write_results(JsonWriter& json, const std::vector<EvalResult>& results) {
  json.key("results").begin_array();
  for (const EvalResult& result : results) {
    json.begin_object()
        .member("task", result.task)
        .member("metric", result.metric)
        .member("value", result.value);
    write_optional(json, "error", result.error);
    json.member("shots", result.shots)
        .member("benchmark", result.is_benchmark)
        .member("given", result.is_given);
    json.end_object();
  }
  json.end_array();
}

}  // namespace

std::string facts_text(const CardFacts& facts) {
  std::string out;
  for (const Fact& fact : facts.facts)
    out += fmt::format("{} = {}\t({})\n", escape_name(fact.name), escape_name(join(fact.values, ", ")),
                       escape_name(fact.source));
  for (const UsedHyperparameter& used : facts.hyperparameters)
    out += fmt::format("{} = {}\t(training_args.bin)\n", escape_name(used.name), escape_name(used.value));
  return out;
}

std::string facts_json(const CardFacts& facts) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().member("schema", "modelutils.card-gen/1").key("facts").begin_array();
  for (const Fact& fact : facts.facts) {
    json.begin_object().member("name", fact.name).key("value");
    if (fact.is_list) {
      json.begin_array();
      for (const std::string& value : fact.values) json.value(value);
      json.end_array();
    } else if (fact.is_number &&
               fact.values.front().find_first_not_of("0123456789.e+-") == std::string::npos) {
      json.raw(fact.values.front());
    } else {
      json.value(fact.values.front());
    }
    json.member("source", fact.source).end_object();
  }
  json.end_array().key("hyperparameters").begin_array();
  for (const UsedHyperparameter& used : facts.hyperparameters) {
    json.begin_object().member("name", used.name).member("value", used.value);
    write_typed(json, used.value);
    json.member("default", used.fallback).member("differs", used.differs).end_object();
  }
  json.end_array().key("train_loss").begin_array();
  for (const CurvePoint& point : facts.train_curve) {
    json.begin_object().member("step", point.step);
    write_optional(json, "epoch", point.epoch);
    json.member("loss", point.value).end_object();
  }
  json.end_array().key("metrics").begin_array();
  for (const MetricCurve& curve : facts.metrics) write_curve(json, curve, facts.metrics_first);
  json.end_array().key("evaluation_sets").begin_array();
  for (const std::string& set : facts.eval_sets) json.value(set);
  json.end_array().key("evaluations").begin_array();
  for (const EvalRow& row : facts.evaluations) {
    json.begin_object().member("step", row.step);
    for (std::size_t i = 0; i < facts.eval_columns.size(); ++i)
      write_optional(json, facts.eval_columns[i], row.values[i]);
    json.end_object();
  }
  json.end_array();
  write_results(json, facts.results);
  for (const auto& [key, list] : {std::pair("notes", &facts.notes), std::pair("unknown", &facts.unknown)}) {
    json.key(key).begin_array();
    for (const std::string& line : *list) json.value(line);
    json.end_array();
  }
  json.end_object();
  return out + "\n";
}

}  // namespace mu
