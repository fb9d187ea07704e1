// SPDX-License-Identifier: Apache-2.0
#include "ckpt/log_mark.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "base/error.h"

namespace mu {
namespace {

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15U;
  hash ^= hash >> 32U;
  hash *= 0xd6e8feb86659fd93U;
  return hash ^ (hash >> 29U);
}

std::uint64_t bits_of(double value) {
  return std::bit_cast<std::uint64_t>(std::isnan(value) ? std::numeric_limits<double>::quiet_NaN() : value);
}

// 0 stands for "not known".
std::uint64_t not_zero(std::uint64_t hash) {
  return hash == 0 ? 1 : hash;
}

// The innermost object around a position in the text, if no other object lies in it.
std::string_view entry_around(std::string_view text, std::size_t place) {
  if (place == std::string_view::npos) return {};
  const std::size_t begin = text.rfind('{', place), end = text.find('}', place);
  if (begin == std::string_view::npos || end == std::string_view::npos) return {};
  return text.substr(begin, end + 1 - begin);
}

}  // namespace

LogHashes hash_log(const TrainerState& state) {
  constexpr std::uint64_t kNone = 0x5bd1e9955bd1e995U;
  std::vector<std::uint64_t> names;
  names.reserve(state.metric_names.size());
  for (const std::string& name : state.metric_names) names.push_back(std::hash<std::string>{}(name));
  LogHashes hashes;
  hashes.ends.reserve(state.log_history.size());
  hashes.beginnings.reserve(state.log_history.size());
  std::uint64_t beginning = kNone, first = kNone;
  for (const TrainerLogEntry& entry : state.log_history) {
    std::uint64_t hash = mix(entry.step.value_or(kNone), entry.epoch ? bits_of(*entry.epoch) : kNone);
    for (const TrainerMetric& metric : entry.metrics)
      hash = mix(mix(hash, names[metric.name]), bits_of(metric.value));
    if (hashes.ends.empty()) first = mix(kNone, hash);
    hashes.ends.push_back(not_zero(mix(first, hash)));
    beginning = not_zero(mix(beginning, hash));
    hashes.beginnings.push_back(beginning);
  }
  return hashes;
}

LogMark mark_log(const TrainerState& state) {
  if (state.log_history.empty()) return {};
  const LogHashes hashes = hash_log(state);
  return {false, hashes.beginnings.back(), hashes.ends.back()};
}

LogMark mark_log_ends(std::string_view head, std::string_view tail) {
  LogMark mark{false, 0, 0};
  const std::string_view first = entry_around(head, head.find("\"step\":", head.find("\"log_history\"")));
  const std::string_view last = entry_around(tail, tail.rfind("\"step\":"));
  if (first.empty() || last.empty()) return mark;
  try {
    mark.ends = mark_log(parse_trainer_state(fmt::format("{{\"log_history\": [{}, {}]}}", first, last))).ends;
  } catch (const Error&) {
    return mark;  // written in another way: then the whole log is compared
  }
  return mark;
}

}  // namespace mu
