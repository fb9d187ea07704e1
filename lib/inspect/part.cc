// SPDX-License-Identifier: Apache-2.0
// How parts of measuring work. The units are dealt out to parts by bytes (os/parts.h), the same on every
// machine, since all see the same list. A part writes for each of its units what a single run would have held
// in memory at that point: every field of TensorStats, floating values as their shortest exact decimal text,
// or a hash. The plan's fingerprint goes with it: the input's files, the chosen tensors, what is measured.
// --combine refuses parts with different fingerprints, opens the input to check that it is still the one that
// was measured, requires every unit, and then merges in the order of the list with the functions of a single
// run. That is why its output is equal to the last bit.

#include "inspect/part.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/in_file.h"
#include "base/json.h"
#include "base/json_write.h"
#include "base/text.h"
#include "inspect/listing.h"
#include "model/fingerprint.h"
#include "weights/layout.h"

namespace mu {
namespace {

constexpr std::string_view kSchema = "modelutils.st-inspect.share/1";
constexpr std::uint64_t kMaxPart =
    1U << 30;  // bytes of a document: bounds memory, at some 500 bytes for each tensor

std::vector<std::uint64_t> tensor_sizes(const std::vector<const Tensor*>& tensors) {
  std::vector<std::uint64_t> sizes;
  sizes.reserve(tensors.size());
  for (const Tensor* tensor : tensors) sizes.push_back(tensor->size);
  return sizes;
}

std::vector<std::uint64_t> hash_costs(const Weights& weights, const std::vector<const Tensor*>& tensors) {
  std::vector<std::uint64_t> costs;
  for (const WeightsFile& file : weights.files) costs.push_back(file.size);
  for (const Tensor* tensor : tensors) costs.push_back(tensor->size);
  return costs;
}

std::string fingerprint_of(const MeasurePlan& plan, const Weights& weights,
                           const std::vector<const Tensor*>& tensors) {
  Fingerprint fingerprint("st-inspect 1");
  fingerprint.add(std::uint64_t{plan.stats});
  fingerprint.add(std::uint64_t{plan.hash});
  fingerprint.add(weights, KnownBy::kTime);
  for (const Tensor* tensor : tensors) {
    fingerprint.add(tensor->name);
    fingerprint.add(type_name(*tensor));
    fingerprint.add(tensor->size);
  }
  if (plan.plain) fingerprint.add(name(*plan.plain));
  return fingerprint.finish();
}

// The fields of TensorStats, whole numbers and others, with their names in the document.
constexpr std::pair<std::string_view, std::uint64_t TensorStats::*> kCounts[] = {
    {"count", &TensorStats::count},
    {"nan", &TensorStats::nan},
    {"positive_infinities", &TensorStats::positive_infinity},
    {"negative_infinities", &TensorStats::negative_infinity},
    {"zeros", &TensorStats::zero},
    {"negative_zeros", &TensorStats::negative_zero},
    {"subnormals", &TensorStats::subnormal},
    {"not_boolean", &TensorStats::not_boolean},
    {"finite", &TensorStats::finite}};
constexpr std::pair<std::string_view, double TensorStats::*> kValues[] = {{"min", &TensorStats::min},
                                                                          {"max", &TensorStats::max},
                                                                          {"mean", &TensorStats::mean},
                                                                          {"squares", &TensorStats::squares}};

void write_stats(JsonWriter& json, const TensorStats& stats) {
  for (const auto& [name, member] : kCounts) json.member(name, stats.*member);
  // The shortest text that reads back as the same number, also for infinities.
  for (const auto& [name, member] : kValues) json.member(name, fmt::format("{}", stats.*member));
  json.member("fits_bf16", stats.fits_bf16).key("exponents").begin_array();
  for (std::size_t slot = 0; slot < stats.exponents.size(); ++slot) {
    if (stats.exponents[slot] > 0) json.numbers({slot, stats.exponents[slot]});
  }
  json.end_array();
}

const JsonValue& must_find(const JsonValue& object, std::string_view key) {
  const JsonValue* const value = object.find(key);
  if (value == nullptr) throw malformed(fmt::format("'{}' is missing in the part", key));
  return *value;
}

std::uint64_t must_count(const JsonValue& value) {
  const std::optional<std::uint64_t> number = value.as_u64();
  if (!number) throw malformed("a count in the part is not a whole number");
  return *number;
}

const std::string& must_string(const JsonValue& object, std::string_view key) {
  const std::string* const text = object.find_string(key);
  if (text == nullptr) throw malformed(fmt::format("text '{}' is missing in the part", key));
  return *text;
}

TensorStats read_stats(const JsonValue& item) {
  TensorStats stats;
  for (const auto& [name, member] : kCounts) stats.*member = must_count(must_find(item, name));
  for (const auto& [name, member] : kValues) {
    const std::string& text = must_string(item, name);
    const std::from_chars_result parsed =
        std::from_chars(text.data(), text.data() + text.size(), stats.*member);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
      throw malformed(fmt::format("'{}' is not a number", escape_name(text)));
  }
  stats.fits_bf16 = item.find_true("fits_bf16");
  for (const JsonValue& pair : must_find(item, "exponents").items()) {
    if (pair.items().size() != 2) throw malformed("an exponent in the part is not a pair");
    const std::uint64_t slot = must_count(pair.items()[0]);
    if (slot >= stats.exponents.size()) throw malformed("an exponent in the part is out of range");
    stats.exponents[static_cast<std::size_t>(slot)] = must_count(pair.items()[1]);
  }
  return stats;
}

MeasurePlan read_plan(const JsonValue& root) {
  MeasurePlan plan{must_string(root, "path"),
                   {},
                   must_string(root, "sort"),
                   root.find("stats") != nullptr,
                   root.find("hashes") != nullptr};
  if (!plan.sort.empty() && !sort_key_of(plan.sort))
    throw malformed(fmt::format("tensors can't be sorted by '{}'", escape_name(plan.sort)));
  if (const std::string* const plain = root.find_string("dequantize")) {
    plan.plain = parse_dtype(*plain);
    if (!plan.plain) throw malformed(fmt::format("'{}' is not a dtype", escape_name(*plain)));
  }
  for (const JsonValue& filter : must_find(root, "filter").items()) {
    if (filter.as_string() == nullptr) throw malformed("a filter in the part is not text");
    plan.filters.push_back(*filter.as_string());
  }
  return plan;
}

}  // namespace

PartUnits part_units(const MeasurePlan& plan, const Part& part, const Weights& weights,
                     const std::vector<const Tensor*>& tensors) {
  PartUnits units;
  const auto cut = [&](std::vector<std::size_t>& chosen, const std::vector<std::uint64_t>& costs) {
    chosen = units_of(part, costs);
    for (const std::size_t unit : chosen) units.bytes += costs[unit];
  };
  if (plan.stats) cut(units.stats, tensor_sizes(tensors));
  if (plan.hash) cut(units.hashes, hash_costs(weights, tensors));
  return units;
}

std::string part_text(const PartUnits& units, const Weights& weights,
                      const std::vector<const Tensor*>& tensors) {
  std::string text;
  const auto line = [&text](std::string_view what, std::uint64_t bytes, const std::string& name) {
    text += fmt::format("{}\t{}\t{}\n", what, bytes, escape_name(name));
  };
  for (const std::size_t i : units.stats) line("stats", tensors[i]->size, tensors[i]->name);
  for (const std::size_t unit : units.hashes) {
    if (unit < weights.files.size()) {
      line("file", weights.files[unit].size, weights.files[unit].name);
    } else {
      const Tensor& tensor = *tensors[unit - weights.files.size()];
      line("tensor", tensor.size, tensor.name);
    }
  }
  return text;
}

std::string measure_part(const MeasurePlan& plan, const Part& part, const Weights& weights,
                         const std::vector<const Tensor*>& tensors, unsigned threads, Progress& progress) {
  const PartUnits units = part_units(plan, part, weights, tensors);
  std::string text;
  JsonWriter json(text, 1);
  json.begin_object().member("schema", kSchema).member("path", plan.path).member("sort", plan.sort);
  json.key("filter").begin_array();
  for (const std::string& filter : plan.filters) json.value(filter);
  json.end_array();
  if (plan.plain) json.member("dequantize", name(*plan.plain));
  json.member("plan", fingerprint_of(plan, weights, tensors));
  json.member("index", part.index).member("count", part.count);
  if (plan.stats) {
    std::vector<const Tensor*> chosen;
    for (const std::size_t i : units.stats) chosen.push_back(tensors[i]);
    std::size_t next = 0;
    json.key("stats").begin_array();
    measure_stats(weights, chosen, threads, progress, [&](const Tensor&, const TensorStats& stats) {
      json.begin_object().member("unit", units.stats[next++]);
      write_stats(json, stats);
      json.end_object();
    });
    json.end_array();
  }
  if (plan.hash) {
    const std::vector<std::string> hashes =
        measure_hash_units(weights, tensors, units.hashes, threads, progress);
    json.key("hashes").begin_array();
    for (std::size_t i = 0; i < hashes.size(); ++i)
      json.begin_object().member("unit", units.hashes[i]).member("hash", hashes[i]).end_object();
    json.end_array();
  }
  json.end_object();
  return text + "\n";
}

CombinedParts::CombinedParts(const std::vector<std::string>& files) {
  for (const std::string& file : files) {
    in_file(file, [&] { read(file); });
  }
}

void CombinedParts::read(const std::string& file) {
  const JsonDocument document = parse_json(read_whole_file(file, kMaxPart));
  const JsonValue& root = document.root;
  const std::string* const schema = root.find_string("schema");
  if (schema == nullptr || *schema != kSchema)
    throw malformed("is not a part written by st-inspect").hint("make it with --part I/N");
  const std::string& fingerprint = must_string(root, "plan");
  if (fingerprint_.empty()) {
    first_ = file;
    fingerprint_ = fingerprint;
    plan_ = read_plan(root);
  } else if (fingerprint != fingerprint_) {
    throw refused(fmt::format("is a part of another plan than {}", escape_name(first_)));
  }
  if (const JsonValue* const list = root.find("stats")) {
    for (const JsonValue& item : list->items())
      stats_.emplace(static_cast<std::size_t>(must_count(must_find(item, "unit"))), read_stats(item));
  }
  if (const JsonValue* const list = root.find("hashes")) {
    for (const JsonValue& item : list->items())
      hashes_.emplace(static_cast<std::size_t>(must_count(must_find(item, "unit"))),
                      must_string(item, "hash"));
  }
}

void CombinedParts::require_whole(const Weights& weights, const std::vector<const Tensor*>& tensors) const {
  if (fingerprint_of(plan_, weights, tensors) != fingerprint_)
    throw refused("has changed since the parts were measured").in_file(escape_name(plan_.path));
  std::size_t missing = 0;
  const auto count = [&missing](const auto& found, std::size_t units) {
    for (std::size_t i = 0; i < units; ++i) missing += found.contains(i) ? 0 : 1;
  };
  if (plan_.stats) count(stats_, tensors.size());
  if (plan_.hash) count(hashes_, weights.files.size() + tensors.size());
  if (missing > 0)
    throw malformed(fmt::format("a part is missing: no given part measured {} of the model",
                                missing == 1 ? "1 piece" : group_digits(missing) + " pieces"))
        .in_file(escape_name(plan_.path))
        .hint("give all N parts");
}

// merge_stats in the order of the list, as measure_stats does.
TensorStats CombinedParts::stats(const std::vector<const Tensor*>& tensors, const OnStats& on_stats) const {
  TensorStats total;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    merge_stats(total, stats_.at(i));
    on_stats(*tensors[i], stats_.at(i));
  }
  return total;
}

Hashes CombinedParts::hashes(const Weights& weights, const std::vector<const Tensor*>& tensors) const {
  std::vector<std::string> units;
  for (std::size_t i = 0; i < weights.files.size() + tensors.size(); ++i) units.push_back(hashes_.at(i));
  return hashes_of_units(weights, tensors, units);
}

}  // namespace mu
