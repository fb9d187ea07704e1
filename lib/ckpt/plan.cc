// SPDX-License-Identifier: Apache-2.0
#include "ckpt/plan.h"

#include <algorithm>

namespace mu {

std::string_view verb_name(Verb verb) {
  switch (verb) {
    case Verb::kKeep:
      return "keep";
    case Verb::kSlim:
      return "slim";
    case Verb::kRemove:
      return "remove";
    case Verb::kAside:
      return "aside";
  }
  return "";
}

void RunPlan::refuse(Error error) {
  for (PlanItem& item : items) {
    if (item.verb == Verb::kKeep) continue;
    item.verb = Verb::kKeep;
    item.reasons = {"nothing is touched: " + error.message()};
  }
  failure = std::move(error);
}

std::uint64_t RunPlan::count(Verb verb) const {
  return static_cast<std::uint64_t>(
      std::count_if(items.begin(), items.end(), [verb](const PlanItem& item) { return item.verb == verb; }));
}

}  // namespace mu
