// SPDX-License-Identifier: Apache-2.0
#include "ckpt/facts.h"

#include <algorithm>
#include <cmath>

namespace mu {

std::string_view condition_name(Condition condition) {
  switch (condition) {
    case Condition::kResumable:
      return "resumable";
    case Condition::kInferenceOnly:
      return "inference only";
    case Condition::kTorn:
      return "torn";
    case Condition::kUnreadable:
      return "unreadable";
  }
  return "";
}

std::string_view content_name(Content content) {
  constexpr std::array<std::string_view, kContentCount> kNames = {
      "weights", "optimizer", "scheduler", "scaler", "rng", "state", "other"};
  return kNames[static_cast<std::size_t>(content)];
}

std::optional<double> RunFacts::rank_value(const CheckpointFacts& checkpoint) const {
  std::optional<double> value;
  for (const TrainerMetric& one : checkpoint.metrics) {
    if (metric_names[one.name] == metric.name) value = one.value;
  }
  return value && std::isfinite(*value) ? value : std::nullopt;
}

std::int64_t age_ns(std::int64_t time_ns, std::int64_t now_ns) {
  return std::max<std::int64_t>(0, now_ns - time_ns);
}

bool is_being_written(const CheckpointFacts& checkpoint, std::int64_t now_ns) {
  if (checkpoint.writer) return true;
  const bool may_be_unfinished = checkpoint.condition == Condition::kTorn || !checkpoint.shows_complete;
  return may_be_unfinished && age_ns(checkpoint.changed_ns, now_ns) < kWritingNs;
}

}  // namespace mu
