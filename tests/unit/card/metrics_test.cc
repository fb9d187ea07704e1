// SPDX-License-Identifier: Apache-2.0
#include "card/metrics.h"

#include <doctest/doctest.h>

#include "card/gather.h"
#include "card/results_table.h"
#include "model/trainer_state.h"

using namespace mu;

namespace {

std::vector<std::string> labels_of(const std::vector<std::string>& names) {
  std::vector<std::string> labels;
  for (const Headline& headline : headlines_of(names)) labels.emplace_back(headline.label);
  return labels;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("metrics: what tells how a method went, by the names in the log") {
  CHECK(labels_of({"loss", "mean_token_accuracy", "entropy"}) == Names{"token accuracy"});
  CHECK(labels_of({"loss", "reward", "reward_std", "completions/mean_length", "kl"}) ==
        Names{"reward", "reward std", "completion length", "KL"});
  CHECK(labels_of({"loss", "rewards/chosen", "rewards/accuracies", "rewards/margins",
                   "mean_token_accuracy"}) == Names{"accuracy", "margin"});
  CHECK(labels_of({"rewards/margins", "kl"}) == Names{"margin", "KL"});
  CHECK(labels_of({"accuracy", "margin", "mean_reward"}) == Names{"accuracy", "margin"});
  CHECK(labels_of({"eval_loss", "eval_reward"}) == Names{"reward"});
  CHECK(labels_of({"loss", "eval_accuracy"}).empty());
}

TEST_CASE("metrics: evaluation sets have names in their loss and their times only") {
  CHECK(eval_sets({"eval_loss"}) == Names{""});
  CHECK(eval_sets({"eval_a_loss", "eval_b_c_loss", "eval_b_c_runtime"}) == Names{"a", "b_c"});
  // A kind of loss that the training logs as well, and one of a method.
  CHECK(eval_sets({"aux_loss", "eval_loss", "eval_aux_loss", "eval_x/y_loss"}) == Names{""});
  CHECK(eval_sets({"aux_loss", "eval_aux_loss", "eval_aux_runtime"}) == Names{"aux"});
  const Names sets = {"", "a", "a_b"};
  CHECK(split_column("eval_a_b_loss", sets).set == "a_b");
  CHECK(split_column("eval_a_b_loss", sets).metric == "loss");
  CHECK(split_column("eval_accuracy", sets).set.empty());
  CHECK(split_column("eval_accuracy", sets).metric == "accuracy");
}

TEST_CASE("metrics: columns follow the headlines, and every set keeps the same ones") {
  Names columns = {"eval_a_x1", "eval_a_x2",   "eval_a_x3",     "eval_a_x4",   "eval_a_x5",     "eval_a_x6",
                   "eval_a_x7", "eval_a_loss", "eval_a_reward", "eval_b_loss", "eval_b_reward", "eval_b_x7"};
  order_eval_columns(columns, headlines_of({"reward"}), {"a", "b"});
  CHECK(Names(columns.begin(), columns.begin() + 4) ==
        Names{"eval_a_reward", "eval_b_reward", "eval_a_loss", "eval_b_loss"});
  CHECK(columns.size() == 10);  // six more metrics, and the seventh of neither set
}

TEST_CASE("metrics: other metrics of an entry belong to the set of its loss") {
  CardFacts facts;
  add_trainer_state(facts, parse_trainer_state(R"({"log_history":[
    {"step":1,"loss":2.0},
    {"step":2,"eval_a_loss":1.0,"eval_a_runtime":1.0,"eval_f1":0.25},
    {"step":2,"eval_b_loss":3.0,"eval_b_runtime":1.0,"eval_f1":0.75}]})"));
  CHECK(facts.eval_columns == Names{"eval_a_loss", "eval_b_loss", "eval_a_f1", "eval_b_f1"});
  REQUIRE(facts.evaluations.size() == 1);
  CHECK(facts.evaluations[0].values[2] == 0.25);
  CHECK(facts.evaluations[0].values[3] == 0.75);
  const std::vector<SetLoss> best = best_losses(facts);
  REQUIRE(best.size() == 2);
  CHECK(best[1].name == "b");
  CHECK(results_table(facts).find("| **2** |  | **b** | **2** |") != std::string::npos);
}

TEST_CASE("metrics: each evaluation set has its own best step in bold") {
  CardFacts facts;
  add_trainer_state(facts, parse_trainer_state(R"({"log_history":[
    {"step":1,"eval_a_loss":1.0,"eval_a_runtime":1.0},{"step":1,"eval_b_loss":3.0,"eval_b_runtime":1.0},
    {"step":2,"eval_a_loss":2.0,"eval_a_runtime":1.0},{"step":2,"eval_b_loss":2.5,"eval_b_runtime":1.0}]})"));
  const std::string table = results_table(facts);
  CHECK(table.find("| **1** |  | **a** |  | **1** |") != std::string::npos);
  CHECK(table.find("| 1 |  | b |  | 3 |") != std::string::npos);
  CHECK(table.find("| 2 |  | a |  | 2 |") != std::string::npos);
  CHECK(table.find("| **2** |  | **b** |  | **2.5** |") != std::string::npos);
}

TEST_CASE("metrics: times, counts and memory of an evaluation are not results") {
  CardFacts facts;
  add_trainer_state(facts, parse_trainer_state(R"({"log_history":[
    {"step":2,"eval_loss":1.0,"eval_runtime":1.0,"eval_samples":8,"eval_mem_cpu_alloc_delta":64,"eval_f1":0.5}]})"));
  CHECK(facts.eval_columns == Names{"eval_loss", "eval_f1"});
}
