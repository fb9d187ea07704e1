// SPDX-License-Identifier: Apache-2.0
// The files that say how a run went: trainer_state.json and training_args.bin.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>

#include "base/json_scan.h"
#include "model/trainer_state.h"
#include "model/training_args.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

std::string fixture(const std::string& name) {
  return std::string(MU_FIXTURES) + "/" + name;
}

std::optional<double> value_of(const TrainerState& state, const TrainerLogEntry& entry,
                               std::string_view name) {
  for (const TrainerMetric& metric : entry.metrics) {
    if (state.metric_names[metric.name] == name) return metric.value;
  }
  return std::nullopt;
}

}  // namespace

TEST_CASE("trainer state: a real one") {
  const TrainerState state = parse_trainer_state(get(fixture("full-run/checkpoint-40/trainer_state.json")));
  CHECK(state.global_step == 40);
  CHECK(state.max_steps == 60);
  CHECK(*state.epoch == doctest::Approx(13.333).epsilon(0.001));
  CHECK(state.num_train_epochs == 20);
  CHECK(state.best_metric == 2.994823932647705);
  CHECK(state.best_global_step == 40);
  CHECK(state.best_model_checkpoint == "full-run/checkpoint-40");
  CHECK(state.train_batch_size == 4);
  CHECK(state.save_steps == 20);
  CHECK(state.eval_steps == 20);
  CHECK(state.logging_steps == 5);
  CHECK(state.num_input_tokens_seen == 0);
  CHECK(*state.total_flos > 0);
  REQUIRE(state.log_history.size() == 10);
  CHECK(state.log_history[0].step == 5);
  CHECK(value_of(state, state.log_history[0], "loss") == 4.73686637878418);
  CHECK(state.log_history[9].step == 40);
  CHECK(value_of(state, state.log_history[9], "eval_loss") == 2.994823932647705);
  CHECK_FALSE(value_of(state, state.log_history[9], "loss").has_value());
  REQUIRE(state.metric_id("eval_loss").has_value());
  CHECK(state.metric_names[*state.metric_id("eval_loss")] == "eval_loss");
  CHECK_FALSE(state.metric_id("step").has_value());
}

TEST_CASE("trainer state: what Python writes beyond JSON, other types, unknown keys") {
  const TrainerState state = parse_trainer_state(
      R"({"new": {"deep": [NaN, {"x": -Infinity}]}, "global_step": 7, "epoch": 1, "best_metric": NaN,
          "best_model_checkpoint": null, "max_steps": -1, "eval_steps": null, "save_steps": 0.25,
          "train_batch_size": "4", "total_flos": 1e+999, "num_train_epochs": 2.0,
          "log_history": [{"loss": NaN, "grad_norm": null, "note": "text", "step": 1, "epoch": 0.5},
                          {"loss": Infinity, "step": 18446744073709551616}, [], {}, {"eval_loss": -Infinity, "step": 3},
                          {"step": 4, "nested": {"loss": 1}, "ok": true}]})");
  CHECK(state.global_step == 7);
  CHECK(state.epoch == 1.0);
  CHECK(std::isnan(*state.best_metric));
  CHECK(state.best_model_checkpoint.empty());
  CHECK_FALSE(state.max_steps.has_value());
  CHECK_FALSE(state.eval_steps.has_value());
  CHECK(state.save_steps == 0.25);
  CHECK_FALSE(state.train_batch_size.has_value());
  CHECK(std::isinf(*state.total_flos));
  CHECK_FALSE(state.num_train_epochs.has_value());
  REQUIRE(state.log_history.size() == 5);
  CHECK(state.log_history[0].metrics.size() == 1);
  CHECK(std::isnan(*value_of(state, state.log_history[0], "loss")));
  CHECK_FALSE(state.log_history[1].step.has_value());
  CHECK(*value_of(state, state.log_history[1], "loss") > 0);
  CHECK(*value_of(state, state.log_history[3], "eval_loss") < 0);
  CHECK(state.log_history[4].metrics.empty());
}

TEST_CASE("trainer state: equal keys count the last time, names are kept once") {
  const TrainerState state = parse_trainer_state(
      R"({"global_step":1,"global_step":2,"best_model_checkpoint":"a","best_model_checkpoint":"b\udcffc",
          "log_history":[{"a":1}],"log_history":[{"b":1,"a":2},{"a":3,"b":4}]})");
  CHECK(state.global_step == 2);
  CHECK(state.best_model_checkpoint ==
        "b\xEF\xBF\xBD"
        "c");
  REQUIRE(state.log_history.size() == 2);
  CHECK(value_of(state, state.log_history[1], "a") == 3.0);
  CHECK(value_of(state, state.log_history[1], "b") == 4.0);
  CHECK(state.metric_names == std::vector<std::string>{"a", "b"});
}

TEST_CASE("trainer state: cut anywhere it is malformed, with an offset in the file") {
  const std::string whole = get(fixture("full-run/checkpoint-40/trainer_state.json"));
  const std::size_t end = whole.find_last_of('}');
  for (std::size_t size = 0; size <= end; size += size < 2000 || size + 300 > end ? 1 : 97) {
    CAPTURE(size);
    std::optional<std::size_t> offset;
    try {
      parse_trainer_state(std::string_view(whole).substr(0, size));
    } catch (const JsonScanError& error) {
      offset = error.offset();
      CHECK(error.kind() == ErrorKind::kMalformed);
    }
    REQUIRE(offset.has_value());
    CHECK(*offset <= size);
  }
  for (const char* text : {"[1]", "", "null", "{} {}", "{\"a\":nan}", "{\"a\":+Infinity}", "{\"\xff\":1}",
                           "{\"log_history\":[{\"loss\":NaNa}]}"}) {
    CAPTURE(text);
    CHECK(error_of([&] { parse_trainer_state(text); }) == ErrorKind::kMalformed);
  }
  const std::string deep = "{\"a\":" + std::string(200, '[') + std::string(200, ']') + "}";
  CHECK(error_of([&] { parse_trainer_state(deep); }) == ErrorKind::kMalformed);
}

TEST_CASE("training arguments: what a run was started with, typed") {
  const TrainingArguments arguments =
      TrainingArguments::read(fixture("full-run/checkpoint-40/training_args.bin"));
  CHECK(arguments.class_name == "trl.trainer.sft_config.SFTConfig");
  CHECK(arguments.text("metric_for_best_model") == "loss");
  CHECK(arguments.flag("greater_is_better") == false);
  CHECK(arguments.flag("load_best_model_at_end") == true);
  CHECK(arguments.text("save_strategy") == "steps");
  CHECK(*arguments.number("learning_rate") == doctest::Approx(0.02));
  CHECK(arguments.number("per_device_train_batch_size") == 4);
  CHECK_FALSE(arguments.number("save_total_limit").has_value());  // None
  CHECK_FALSE(arguments.number("bf16").has_value());              // a bool is not a number
  CHECK_FALSE(arguments.flag("learning_rate").has_value());
  CHECK_FALSE(arguments.text("learning_rate").has_value());
  CHECK_FALSE(arguments.text("no_such_argument").has_value());
}

TEST_CASE("training arguments: anything else is malformed") {
  const TempFolder folder;
  const std::string real = get(fixture("full-run/checkpoint-40/training_args.bin"));
  put(folder / "cut", std::string_view(real).substr(0, real.size() / 2));
  put(folder / "text", "not a pickle");
  put(folder / "empty", "");
  put(folder / "large", real + std::string(TrainingArguments::kMaxBytes, '\0'));
  for (const char* name : {"cut", "text", "empty", "large"}) {
    CAPTURE(name);
    CHECK(error_of([&] { TrainingArguments::read(folder / name); }) == ErrorKind::kMalformed);
  }
  CHECK(error_of([&] { TrainingArguments::read(fixture("full-run/checkpoint-40/scheduler.pt")); }) ==
        ErrorKind::kMalformed);
  CHECK(error_of([&] { TrainingArguments::read(folder / "missing"); }) == ErrorKind::kIo);
}
