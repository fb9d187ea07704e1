// SPDX-License-Identifier: Apache-2.0
#include "pack/far_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/sizes.h"
#include "base/text.h"
#include "pack/far_plan.h"

namespace mu {
namespace {

// The repository in the name of a far file, or the name itself: "hf://owner/name".
std::string place_of(std::string_view name) {
  constexpr std::string_view kHub = "hf://";
  if (!name.starts_with(kHub)) return std::string(name);
  const std::vector<std::string_view> parts = split(name.substr(kHub.size()), '/');
  const std::size_t count = parts.front() == "datasets" || parts.front() == "spaces" ? 3 : 2;
  std::string place(kHub);
  for (std::size_t i = 0; i < std::min(count, parts.size()); ++i)
    place.append(i > 0 ? "/" : "").append(parts[i]);
  return place;
}

// "hf://owner/name and hf://owner/adapter", the places that the plan reads from.
std::string places_of(const FarPlan& far) {
  std::vector<std::string> places;
  for (const FarRange& range : far.sequence) {
    const std::string place = place_of(range.file->name);
    if (std::find(places.begin(), places.end(), place) == places.end()) places.push_back(place);
  }
  if (places.size() > 2) return fmt::format("{} and {} more", escape_name(places.front()), places.size() - 1);
  return escape_name(join(places, " and "));
}

}  // namespace

std::string far_text(const PackPlan& plan) {
  if (!is_far(plan)) return "";
  const FarPlan far = plan_far(plan);
  return fmt::format("would read {} of {} from {} in {}\n", format_size(far.bytes), format_size(far.of),
                     places_of(far), plural(far.files, "file"));
}

std::string read_text(const PackPlan& plan, const FarRead& read) {
  std::string text = fmt::format("; read {} from {}", format_size(read.bytes), places_of(plan_far(plan)));
  if (read.before > 0) text += fmt::format(" ({} were there from an earlier run)", format_size(read.before));
  return text;
}

}  // namespace mu
