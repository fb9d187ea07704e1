// SPDX-License-Identifier: Apache-2.0
#include "pack/quant_report.h"

#include <fmt/format.h>

#include <map>

#include "base/sizes.h"
#include "base/text.h"
#include "tensor/format.h"

namespace mu {
namespace {

// "model.layers.12.mlp.gate" -> "model.layers.*.mlp.gate".
std::string without_numbers(const std::string& name) {
  std::vector<std::string> parts;
  for (const std::string_view part : split(name, '.')) parts.emplace_back(is_digits(part) ? "*" : part);
  return join(parts, ".");
}

struct Folded {
  std::string name, reason;
  std::uint64_t count = 0, bytes = 0;
};

std::vector<Folded> folded(const std::vector<QuantizePlan::Left>& left) {
  std::vector<Folded> rows;
  std::map<std::pair<std::string, std::string>, std::size_t> row_of;
  for (const QuantizePlan::Left& one : left) {
    const std::pair<std::string, std::string> key(without_numbers(one.name), one.reason);
    const auto [row, is_new] = row_of.try_emplace(key, rows.size());
    if (is_new) rows.push_back({one.name, one.reason});
    ++rows[row->second].count;
    rows[row->second].bytes += one.bytes;
  }
  for (Folded& row : rows) {
    if (row.count == 1) continue;
    row.name = without_numbers(row.name);
    row.reason += fmt::format(" ×{}", group_digits(row.count));
  }
  return rows;
}

}  // namespace

void add_rows(Table& table, const QuantizePlan& plan) {
  const SchemeFacts& facts = facts_of(plan.scheme);
  const std::string preset = facts.preset.empty() ? "" : fmt::format(" ({} {})", facts.method, facts.preset);
  table.row({"quantize", plural(plan.modules.size(), "module"), format_size(plan.bytes),
             fmt::format("{}{}, from {}; {}", facts.name, preset, format_size(plan.bytes_before),
                         facts.activations)});
  for (const Folded& row : folded(plan.left))
    table.row({"stay", escape_name(row.name), row.bytes == 0 ? "" : format_size(row.bytes), row.reason});
}

void write_quantize(JsonWriter& json, const QuantizePlan& plan, bool done) {
  const SchemeFacts& facts = facts_of(plan.scheme);
  json.key("quantize").begin_object().member("scheme", facts.name).member("method", facts.method);
  if (!facts.preset.empty()) json.member("preset", facts.preset);
  json.member("modules", plan.modules.size()).member("bytes_before", plan.bytes_before);
  json.member("bytes", plan.bytes).key("stay").begin_array();
  for (const QuantizePlan::Left& left : plan.left)
    json.begin_object().member("module", left.name).member("reason", left.reason).end_object();
  json.end_array();
  if (done) {
    json.key("errors").begin_array();
    for (const QuantizePlan::Module& module : plan.modules) {
      const std::optional<QuantError::Result> error = module.error ? module.error->result() : std::nullopt;
      if (!error) continue;
      json.begin_object().member("module", module.name).member("max", error->largest);
      json.member("relative_l2", error->relative).end_object();
    }
    json.end_array();
  }
  json.key("config").raw(plan.config).end_object();
}

std::vector<std::string> error_lines(const QuantizePlan& plan) {
  std::vector<std::string> lines;
  for (const QuantizePlan::Module& module : plan.modules) {
    const std::optional<QuantError::Result> error = module.error ? module.error->result() : std::nullopt;
    if (error)
      lines.push_back(fmt::format("{}: moved by {:.3g} at most, {:.3g} relative (L2)",
                                  escape_name(module.name), error->largest, error->relative));
  }
  return lines;
}

}  // namespace mu
