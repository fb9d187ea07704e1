// SPDX-License-Identifier: Apache-2.0
#include "base/finding.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace mu {

std::string_view level_name(Level level) {
  switch (level) {
    case Level::kLoads:
      return "loads";
    case Level::kSpec:
      return "spec";
    case Level::kHub:
      return "hub";
  }
  return "";
}

void Findings::add(Finding finding) {
  const std::uint64_t earlier = counts_[finding.rule]++;
  if (earlier < kKept) list_.push_back(std::move(finding));
}

void Findings::add_all(const Findings& other) {
  for (const Finding& finding : other.list_) add(finding);
  for (const auto& [rule, count] : other.counts_) counts_[rule] += count - std::min(count, kKept);
}

Findings Findings::without(std::string_view rule) const {
  Findings rest = *this;
  std::erase_if(rest.list_, [rule](const Finding& finding) { return finding.rule == rule; });
  rest.counts_.erase(rule);
  return rest;
}

std::uint64_t Findings::count(std::string_view rule) const {
  const auto found = counts_.find(rule);
  return found == counts_.end() ? 0 : found->second;
}

const Finding* Findings::first_up_to(Level level) const {
  for (const Finding& finding : list_) {
    if (finding.level <= level) return &finding;
  }
  return nullptr;
}

void Findings::throw_if_unloadable() const {
  const Finding* fatal = first_up_to(Level::kLoads);
  if (fatal == nullptr) return;
  Error error = malformed(fmt::format("{} [{}]", fatal->message, fatal->rule));
  error.in_file(escape_name(fatal->file));
  if (fatal->offset) error.at(fmt::format("byte {}", *fatal->offset));
  throw error;
}

}  // namespace mu
