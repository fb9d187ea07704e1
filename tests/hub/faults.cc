// SPDX-License-Identifier: Apache-2.0
#include "faults.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"
#include "base/text.h"
#include "codec.h"

namespace hub {

namespace {

constexpr std::array<std::string_view, 52> kKinds = {
    "status",        "rate-limit",     "retry-after", "retry-date",    "commit-quota",
    "expired",       "reset",          "cut",         "slow",          "slow-answer",
    "stall",         "redirect-loop",  "redirect",    "status-after",  "reset-after",
    "stall-after",   "truncate",       "garbage",     "empty",         "html",
    "wrong-type",    "warning",        "no-etag",     "wrong-etag",    "corrupt",
    "lfs-error",     "lfs-missing",    "lfs-unasked", "expired-links", "busy",
    "late",          "ignore-range",   "wrong-range", "missing-path",  "too-large",
    "commit-url",    "no-visibility",  "upload-link", "upload-header", "big",
    "deep",          "same-page",      "endless",     "reset-answer",  "stall-answer",
    "encoded",       "changed",        "no-ranges",   "short-range",   "wrong-size",
    "refused-range", "ignore-if-range"};

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

std::int64_t number(std::string_view text) {
  std::int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

void Faults::add(Fault fault) {
  if (is_number(fault.kind)) {
    fault.status = static_cast<int>(number(fault.kind));
    fault.kind = "status";
  }
  if (std::find(kKinds.begin(), kKinds.end(), fault.kind) == kKinds.end())
    throw mu::usage("no such kind of fault: " + fault.kind);
  const std::lock_guard lock(mutex_);
  rules_.push_back(std::move(fault));
}

void Faults::add(const mu::JsonValue& rule) {
  Fault fault;
  for (const mu::JsonValue::Member& member : rule.members()) {
    const std::string& key = member.key;
    const mu::JsonValue& value = member.value;
    const auto text = [&] {
      if (!value.as_string()) throw mu::usage(key + " must be a string");
      return *value.as_string();
    };
    const auto amount = [&] {
      if (!value.as_double()) throw mu::usage(key + " must be a number");
      return *value.as_double();
    };
    if (key == "route")
      fault.route = text();
    else if (key == "kind")
      fault.kind = text();
    else if (key == "match")
      fault.match = text();
    else if (key == "repo")
      fault.repo = text();
    else if (key == "message")
      fault.message = text();
    else if (key == "code")
      fault.code = text();
    else if (key == "location")
      fault.location = text();
    else if (key == "times")
      fault.times = static_cast<std::int64_t>(amount());
    else if (key == "after")
      fault.after = static_cast<std::int64_t>(amount());
    else if (key == "status")
      fault.status = static_cast<int>(amount());
    else if (key == "bytes")
      fault.bytes = static_cast<std::uint64_t>(amount());
    else if (key == "seconds")
      fault.seconds = amount();
    else if (key == "early")
      fault.early = value.as_bool().value_or(false);
    else
      throw mu::usage("no such member of a fault: " + key);
  }
  add(std::move(fault));
}

void Faults::add_for_name(const std::string& repo_id) {
  const std::string name = repo_id.substr(repo_id.rfind('/') + 1);
  const std::vector<std::string_view> words = mu::split(name, '_');
  if (words.size() < 3 || words[0] != "fault") return;
  Fault fault;
  fault.repo = repo_id;
  fault.route = words[1];
  fault.kind = words[2];
  if (words.size() > 3) fault.times = number(words[3]);
  add(std::move(fault));
}

std::optional<Fault> Faults::take(std::string_view route, std::string_view target, std::string_view repo_id) {
  const std::lock_guard lock(mutex_);
  for (auto rule = rules_.begin(); rule != rules_.end(); ++rule) {
    const bool any = rule->route == "*" ? !route.starts_with("storage-")
                                        : rule->route == "storage-*" && route.starts_with("storage-");
    if (!any && rule->route != route) continue;
    if (target.find(rule->match) == std::string_view::npos) continue;
    if (!rule->repo.empty() && lower(rule->repo) != lower(repo_id)) continue;
    if (rule->after > 0) {
      --rule->after;
      continue;
    }
    Fault fault = *rule;
    if (rule->times > 0 && --rule->times == 0) rules_.erase(rule);
    return fault;
  }
  return std::nullopt;
}

void Faults::clear() {
  const std::lock_guard lock(mutex_);
  rules_.clear();
}

std::size_t Faults::left() {
  const std::lock_guard lock(mutex_);
  return rules_.size();
}

}  // namespace hub
