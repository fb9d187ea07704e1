// SPDX-License-Identifier: Apache-2.0
#include "weights/pickle/depth.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace mu {
namespace {

// The n-th node that a node refers to; kNoNode past the last.
PickleId child_of(const Pickle& p, PickleId id, std::size_t n) {
  if (p.kind(id) != PickleKind::kCall) {
    const std::span<const PickleId> items = p.items(id);
    return n < items.size() ? items[n] : kNoNode;
  }
  const PickleCall& call = p.call(id);
  for (const PickleId part : {call.callee, call.args, call.kwargs, call.state, call.list, call.dict}) {
    if (part != kNoNode && n-- == 0) return part;
  }
  return kNoNode;
}

}  // namespace

std::optional<PickleId> find_too_deep(const Pickle& p) {
  constexpr std::uint16_t kNew = 0, kOnPath = 0xFFFF;
  std::vector<std::uint16_t> height(p.node_count(), kNew);
  struct Step {
    PickleId id;
    std::size_t next;
    std::uint16_t highest;  // of its children so far
  };
  std::vector<Step> path = {{p.root(), 0, 0}};
  height[p.root()] = kOnPath;
  while (!path.empty()) {
    Step& step = path.back();
    const PickleId child = child_of(p, step.id, step.next++);
    if (child != kNoNode && height[child] == kNew) {
      height[child] = kOnPath;
      path.push_back({child, 0, 0});
    } else if (child != kNoNode) {
      if (height[child] != kOnPath) step.highest = std::max(step.highest, height[child]);
      continue;
    } else {
      const auto own = static_cast<std::uint16_t>(step.highest + 1);
      height[step.id] = own;
      path.pop_back();
      if (!path.empty()) path.back().highest = std::max(path.back().highest, own);
    }
    if (path.size() > Pickle::kMaxDepth || (!path.empty() && path.back().highest > Pickle::kMaxDepth)) {
      return path.back().id;
    }
  }
  return std::nullopt;
}

}  // namespace mu
