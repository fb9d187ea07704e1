// SPDX-License-Identifier: Apache-2.0
#include "card/metrics.h"

#include <algorithm>
#include <array>
#include <unordered_set>

namespace mu {
namespace {

constexpr std::string_view kEval = "eval_", kLoss = "_loss";
constexpr std::size_t kMostColumns = 8;  // a table stays readable

// What the trainers of TRL 1.16.0 log, and where names differ, what earlier ones did.
struct Family {
  std::string_view sign;  // the log is of this kind if it has this name
  std::array<Headline, 5> headlines;
};

constexpr std::array<Family, 4> kFamilies = {{
    // GRPO, RLOO and others that sample completions (trl/trainer/grpo_trainer.py)
    {"reward",
     {{{"reward", "reward", true},
       {"reward_std", "reward std", true},
       {"completions/mean_length", "completion length", true},
       {"completion_length", "completion length", true},
       {"kl", "KL", true}}}},
    // PPO and Online DPO of TRL before 1.0
    {"objective/scores",
     {{{"objective/scores", "reward", true},
       {"objective/rlhf_reward", "RLHF reward", true},
       {"objective/kl", "KL", true}}}},
    // DPO, KTO, ORPO, CPO and others that compare two answers (trl/trainer/dpo_trainer.py, kto_trainer.py)
    {"rewards/margins",
     {{{"rewards/accuracies", "accuracy", true}, {"rewards/margins", "margin", true}, {"kl", "KL", true}}}},
    // Reward models (trl/trainer/reward_trainer.py)
    {"mean_reward", {{{"accuracy", "accuracy", true}, {"margin", "margin", true}}}},
}};

bool has(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::vector<std::string> eval_sets(const std::vector<std::string>& names) {
  constexpr std::size_t kMostSets = 50;
  const std::unordered_set<std::string_view> known(names.begin(), names.end());
  std::vector<std::string> sets;
  for (const std::string& name : names) {
    if (!name.starts_with(kEval) || !name.ends_with(kLoss)) continue;
    std::string set;
    if (name.size() > kEval.size() + kLoss.size())
      set = name.substr(kEval.size(), name.size() - kEval.size() - kLoss.size());
    // A loss of a kind that the training logs as well, such as aux_loss, is not that of a set.
    const bool timed = known.contains(std::string(kEval) + set + "_runtime");
    const bool kind = known.contains(set + std::string(kLoss)) || set.find('/') != std::string::npos;
    if ((set.empty() || timed || !kind) && !has(sets, set)) sets.push_back(std::move(set));
    if (sets.size() == kMostSets) break;
  }
  return sets;
}

bool keeps_books(std::string_view name) {
  for (const std::string_view own : {"epoch", "step", "global_step", "total_flos", "train_loss", "num_tokens",
                                     "num_input_tokens_seen", "init_mem_cpu", "init_mem_gpu"}) {
    if (name == own) return true;
  }
  for (const std::string_view end :
       {"_runtime", "_per_second", "_samples", "_compilation_time", "_preparation_time", "_num_tokens",
        "_mem_cpu_alloc_delta", "_mem_gpu_alloc_delta", "_mem_cpu_peaked_delta", "_mem_gpu_peaked_delta"}) {
    if (name.ends_with(end)) return true;
  }
  return name.starts_with("train_");
}

EvalColumn split_column(std::string_view column, const std::vector<std::string>& sets) {
  if (column.starts_with(kEval)) column.remove_prefix(kEval.size());
  std::string_view longest;
  for (const std::string& set : sets) {
    const bool fits =
        !set.empty() && column.size() > set.size() && column.starts_with(set) && column[set.size()] == '_';
    if (fits && set.size() > longest.size()) longest = set;
  }
  const std::string_view metric = longest.empty() ? column : column.substr(longest.size() + 1);
  return {std::string(longest), std::string(metric)};
}

std::vector<Headline> headlines_of(const std::vector<std::string>& names) {
  std::vector<Headline> found;
  for (const Family& family : kFamilies) {
    if (!has(names, family.sign) && !has(names, std::string(kEval).append(family.sign))) continue;
    for (const Headline& headline : family.headlines) {
      const bool logged =
          has(names, headline.metric) || has(names, std::string(kEval).append(headline.metric));
      if (!headline.metric.empty() && logged) found.push_back(headline);
    }
    return found;
  }
  if (has(names, "mean_token_accuracy")) found.push_back({"mean_token_accuracy", "token accuracy", false});
  return found;
}

void order_eval_columns(std::vector<std::string>& columns, const std::vector<Headline>& headlines,
                        const std::vector<std::string>& sets) {
  // Headlines that tell more than the loss, losses, other headlines, the rest.
  const auto rank = [&](std::string_view metric) {
    for (std::size_t i = 0; i < headlines.size(); ++i) {
      if (headlines[i].metric == metric) return headlines[i].before_loss ? i : headlines.size() + 1 + i;
    }
    return metric == "loss" ? headlines.size() : 2 * headlines.size() + 1;
  };
  struct Ranked {
    std::size_t rank;
    std::string metric, column;
  };
  std::vector<Ranked> ranked;
  for (const std::string& column : columns) {
    std::string metric = split_column(column, sets).metric;
    ranked.push_back({rank(metric), std::move(metric), column});
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const Ranked& a, const Ranked& b) { return a.rank < b.rank; });
  std::vector<std::string> metrics;  // a column each, whatever the number of sets
  columns.clear();
  for (Ranked& one : ranked) {
    if (!has(metrics, one.metric) && metrics.size() < kMostColumns) metrics.push_back(one.metric);
    if (has(metrics, one.metric)) columns.push_back(std::move(one.column));
  }
}

std::optional<std::size_t> loss_column(const std::vector<std::string>& columns,
                                       const std::vector<std::string>& sets) {
  const auto found = std::find_if(columns.begin(), columns.end(), [&](const std::string& column) {
    return split_column(column, sets).metric == "loss";
  });
  if (found == columns.end()) return std::nullopt;
  return static_cast<std::size_t>(found - columns.begin());
}

}  // namespace mu
