// SPDX-License-Identifier: Apache-2.0
#include "weights/ranks/dcp_places.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"
#include "weights/index.h"
#include "weights/pickle/pickle.h"
#include "weights/ranks/rank_file.h"
#include "weights/torch/values.h"

namespace mu {
namespace {

bool names_optimizer(std::string_view key) {
  return key.starts_with("optim") || key.find(".optim") != std::string_view::npos;
}

std::uint64_t number_of(const Pickle& p, PickleId id, std::string_view what) {
  if (id == kNoNode || p.kind(id) != PickleKind::kInt || p.integer(id) < 0)
    throw malformed(fmt::format("a piece has no {}", what));
  return static_cast<std::uint64_t>(p.integer(id));
}

}  // namespace

bool add_dcp_places(std::string_view metadata, DcpPlaces& places) {
  const Pickle p(metadata);
  if (p.fault())
    throw malformed("is broken at byte " + std::to_string(p.fault()->at) + ": " + p.fault()->message);
  const PickleId storage = pickle_attribute(p, p.root(), "storage_data");
  if (storage == kNoNode) return false;
  const std::span<const PickleId> pairs = pickle_mapping(p, storage);
  if (pairs.empty()) return p.kind(storage) == PickleKind::kDict;
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    const PickleId path = pickle_attribute(p, pairs[i + 1], "relative_path");
    if (path == kNoNode || p.kind(path) != PickleKind::kText) return false;
    const std::string file(p.text(path));
    if (const std::optional<std::string_view> why = unsafe_name(file))
      throw malformed(fmt::format("the file name '{}' is not followed: {}", escape_name(file), *why));
    const std::optional<std::uint64_t> end =
        checked_add(number_of(p, pickle_attribute(p, pairs[i + 1], "offset"), "offset"),
                    number_of(p, pickle_attribute(p, pairs[i + 1], "length"), "length"));
    if (!end) throw malformed("the end of a piece overflows 64 bits");
    std::uint64_t& known = places.ends[file];
    known = std::max(known, *end);
    const PickleId key = pickle_attribute(p, pairs[i], "fqn");
    if (key != kNoNode && p.kind(key) == PickleKind::kText)
      places.has_optimizer = places.has_optimizer || names_optimizer(p.text(key));
  }
  return true;
}

}  // namespace mu
