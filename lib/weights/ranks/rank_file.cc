// SPDX-License-Identifier: Apache-2.0
#include "weights/ranks/rank_file.h"

#include <fmt/format.h>

#include "base/text.h"
#include "weights/pickle/safety.h"

namespace mu {

Error rule_error(std::string_view rule, std::string message) {
  return malformed(fmt::format("{} [{}]", message, rule));
}

void require_harmless(const Pickle& pickle) {
  const PickleReport report = report_pickle(pickle);
  if (report.worst != Verdict::kDangerous) return;
  throw malformed(report.globals.empty() || report.globals.front().verdict != Verdict::kDangerous
                      ? "its pickle calls something that is dangerous to load"
                      : fmt::format("its pickle names '{}', which is dangerous to load",
                                    escape_name(report.globals.front().name)));
}

PickleId pickle_attribute(const Pickle& pickle, PickleId object, std::string_view name) {
  if (object == kNoNode || pickle.kind(object) != PickleKind::kCall || pickle.call(object).state == kNoNode)
    return kNoNode;
  return pickle_find(pickle, pickle.call(object).state, name);
}

std::optional<std::vector<std::uint64_t>> pickle_shape(const Pickle& pickle, PickleId id) {
  constexpr std::size_t kMaxDims = 64;  // as many as torch's functions take (dim_bitset_size)
  if (id == kNoNode) return std::nullopt;
  if (pickle.kind(id) == PickleKind::kCall && pickle_name(pickle, id) == "torch.Size" &&
      pickle.items(pickle.call(id).args).size() == 1)
    id = pickle.items(pickle.call(id).args)[0];
  if (pickle.kind(id) != PickleKind::kTuple && pickle.kind(id) != PickleKind::kList) return std::nullopt;
  std::vector<std::uint64_t> shape;
  for (const PickleId item : pickle.items(id)) {
    if (pickle.kind(item) != PickleKind::kInt || pickle.integer(item) < 0) return std::nullopt;
    shape.push_back(static_cast<std::uint64_t>(pickle.integer(item)));
  }
  return shape.size() <= kMaxDims ? std::optional(shape) : std::nullopt;
}

void add_rank_file(Weights& weights, InputFile file) {
  constexpr std::size_t kMaxOpen = 64;
  if (weights.files.size() >= kMaxOpen) file.park();
  std::string name = file.path();
  const std::uint64_t size = file.size();
  weights.files.push_back(
      {.name = std::move(name), .file = std::move(file), .size = size, .data_begin = 0, .metadata = {}});
}

}  // namespace mu
