// SPDX-License-Identifier: Apache-2.0
#include "lora/pair_entry.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

double number(const JsonValue& item, std::string_view key) {
  const JsonValue* value = item.find(key);
  const std::optional<double> found = value == nullptr ? std::nullopt : value->as_double();
  if (!found) throw malformed(fmt::format("has no {}", key));
  return *found;
}

void require(bool fits, const PairTensor& pair) {
  if (!fits) throw malformed(fmt::format("'{}' is not as planned", escape_name(pair.name)));
}

bool is_in(const FoundFile& file, std::uint64_t offset, std::uint64_t bytes) {
  return offset <= file.size && bytes <= file.size - offset;
}

}  // namespace

std::size_t read_found(const JsonValue& item, const PairPlan& plan, const FoundFile& file,
                       std::vector<FoundTensor>& found) {
  const std::optional<std::uint64_t> index = item.find_u64("index");
  if (!index || *index >= plan.tensors.size()) throw malformed("names a tensor that is not in the plan");
  const PairTensor& pair = plan.tensors[static_cast<std::size_t>(*index)];
  FoundTensor one;
  one.done = true;
  one.changed = item.find_true("changed");
  one.is_noise = item.find_true("noise");
  if (const std::optional<std::uint64_t> rank = item.find_u64("rank")) {
    const std::uint64_t m = pair.rows, n = pair.columns;
    one.rank = static_cast<std::size_t>(*rank);
    one.in = static_cast<std::size_t>(item.find_u64("in").value_or(0));
    one.out = static_cast<std::size_t>(item.find_u64("out").value_or(0));
    one.offset = item.find_u64("offset").value_or(0);
    require(is_matrix(pair) && one.rank > 0 && one.rank <= std::min(m, n) && one.in == in_features(pair) &&
                one.out == out_features(pair) && is_in(file, one.offset, factor_bytes(one)),
            pair);
    one.report = {pair.module,
                  static_cast<std::size_t>(m),
                  static_cast<std::size_t>(n),
                  one.rank,
                  number(item, "norm"),
                  number(item, "error"),
                  number(item, "energy"),
                  number(item, "gap"),
                  {}};
    if (const JsonValue* values = item.find("values")) {
      for (const JsonValue& value : values->items())
        one.report.values.push_back(value.as_double().value_or(0));
    }
    one.read = file.read;
  } else if (const std::optional<std::uint64_t> kept = item.find_u64("kept")) {
    one.kept = *kept;
    one.offset = item.find_u64("offset").value_or(0);
    require(!is_matrix(pair) && *kept == pair.tuned_values.size && is_in(file, one.offset, *kept), pair);
    one.read = file.read;
  }
  found[static_cast<std::size_t>(*index)] = std::move(one);
  return static_cast<std::size_t>(*index);
}

void write_found(JsonWriter& json, std::size_t index, const FoundTensor& one, std::uint64_t offset) {
  json.begin_object().member("index", index).member("changed", one.changed);
  if (one.is_noise) json.member("noise", true);
  if (one.rank > 0) {
    json.member("offset", offset)
        .member("rank", one.rank)
        .member("in", one.in)
        .member("out", one.out)
        .member("norm", one.report.norm)
        .member("error", one.report.error)
        .member("energy", one.report.energy)
        .member("gap", one.report.gap);
    json.key("values").begin_array();
    for (const double value : one.report.values) json.value(value);
    json.end_array();
  } else if (one.kept > 0) {
    json.member("offset", offset).member("kept", one.kept);
  }
  json.end_object();
}

}  // namespace mu
