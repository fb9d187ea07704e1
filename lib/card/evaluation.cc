// SPDX-License-Identifier: Apache-2.0
// Results that other programs wrote. lm-evaluation-harness: results.json with results{task{"metric,filter":
// value, "metric_stderr,filter": error}} and "n-shot". Transformers' save_metrics: all_results.json, one flat
// object.
#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "card/gather.h"
#include "card/metrics.h"

namespace mu {
namespace {

void add_harness_task(CardFacts& facts, const JsonValue::Member& task, const JsonValue* shots) {
  for (const JsonValue::Member& metric : task.value.members()) {
    const std::size_t comma = metric.key.find(',');
    const std::string name = metric.key.substr(0, comma);
    const std::optional<double> value = metric.value.as_double();
    if (!value || name.ends_with("_stderr") || name == "sample_len") continue;
    EvalResult result{task.key, metric.key, *value, std::nullopt, "", true, true};
    const std::string filter = comma == std::string::npos ? "" : metric.key.substr(comma);
    if (const JsonValue* error = task.value.find(name + "_stderr" + filter))
      result.error = error->as_double();
    if (shots != nullptr) {
      if (const std::optional<std::uint64_t> n = shots->find_u64(task.key)) result.shots = std::to_string(*n);
    }
    facts.results.push_back(std::move(result));
  }
}

}  // namespace

void add_trainer_results(CardFacts& facts, const JsonValue& results, bool given) {
  for (const JsonValue::Member& member : results.members()) {
    const std::optional<double> value = member.value.as_double();
    if (!value || keeps_books(member.key)) continue;
    const auto same = std::find_if(facts.results.begin(), facts.results.end(), [&](const EvalResult& known) {
      return known.task.empty() && known.metric == member.key;
    });
    // all_results.json repeats eval_results.json; a file that was named counts more than one that lies there.
    if (same == facts.results.end()) {
      facts.results.push_back({"", member.key, *value, std::nullopt, "", false, given});
    } else if (given && !same->is_given) {
      same->value = *value;
      same->is_given = true;
    } else if (given && same->value != *value) {
      facts.results.push_back({"", member.key, *value, std::nullopt, "", false, given});
    }
  }
}

void add_evaluation_file(CardFacts& facts, std::string_view text, std::string_view file) {
  const JsonDocument document = parse_json(text);
  if (!document.root.is_object()) throw malformed("is not a JSON object").in_file(escape_name(file));
  const auto given = [&] {
    return std::count_if(facts.results.begin(), facts.results.end(),
                         [](const EvalResult& result) { return result.is_given; });
  };
  const std::ptrdiff_t before = given();
  if (const JsonValue* results = document.root.find("results"); results != nullptr && results->is_object()) {
    const JsonValue* shots = document.root.find("n-shot");
    for (const JsonValue::Member& task : results->members()) {
      if (task.value.is_object()) add_harness_task(facts, task, shots);
    }
  } else {
    add_trainer_results(facts, document.root, true);
  }
  if (given() == before)
    throw malformed("holds no results of lm-evaluation-harness or of a trainer").in_file(escape_name(file));
}

}  // namespace mu
