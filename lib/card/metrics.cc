// SPDX-License-Identifier: Apache-2.0
#include "card/metrics.h"

#include <algorithm>
#include <array>

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

// The name of a column without "eval_" and the name of its set.
std::string_view bare(std::string_view column, const std::vector<std::string>& sets) {
  column.remove_prefix(kEval.size());
  std::string_view longest;
  for (const std::string& set : sets) {
    const bool fits = column.size() > set.size() && column.starts_with(set) && column[set.size()] == '_';
    if (fits && set.size() > longest.size()) longest = set;
  }
  return longest.empty() ? column : column.substr(longest.size() + 1);
}

}  // namespace

std::string_view eval_set(std::string_view column) {
  if (column.size() <= kEval.size() + kLoss.size() || !column.starts_with(kEval) || !column.ends_with(kLoss))
    return "";
  return column.substr(kEval.size(), column.size() - kEval.size() - kLoss.size());
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

void order_eval_columns(std::vector<std::string>& columns, const std::vector<Headline>& headlines) {
  std::vector<std::string> sets;
  for (const std::string& column : columns) {
    // "eval_rewards/…_loss" is not the name of a set.
    if (const std::string_view set = eval_set(column);
        !set.empty() && set.find('/') == std::string_view::npos)
      sets.emplace_back(set);
  }
  // Headlines that tell more than the loss, losses, other headlines, the rest.
  const auto rank = [&](const std::string& column) {
    const std::string_view name = bare(column, sets);
    for (std::size_t i = 0; i < headlines.size(); ++i) {
      if (headlines[i].metric == name) return headlines[i].before_loss ? i : headlines.size() + 1 + i;
    }
    return name == "loss" ? headlines.size() : 2 * headlines.size() + 1;
  };
  std::vector<std::pair<std::size_t, std::string>> ranked;
  ranked.reserve(columns.size());
  for (std::string& column : columns) {
    const std::size_t at = rank(column);
    ranked.emplace_back(at, std::move(column));
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  if (ranked.size() > kMostColumns) ranked.resize(kMostColumns);
  columns.clear();
  for (auto& [at, column] : ranked) columns.push_back(std::move(column));
}

std::optional<std::size_t> loss_column(const std::vector<std::string>& columns) {
  const auto found = std::find_if(columns.begin(), columns.end(), [](const std::string& column) {
    return column == "eval_loss" || !eval_set(column).empty();
  });
  if (found == columns.end()) return std::nullopt;
  return static_cast<std::size_t>(found - columns.begin());
}

}  // namespace mu
