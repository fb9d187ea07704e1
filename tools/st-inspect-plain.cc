// SPDX-License-Identifier: Apache-2.0
#include "st-inspect-plain.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "cli/console.h"
#include "inspect/slice.h"
#include "model/dequantise.h"
#include "model/quant_summary.h"

namespace mu {
namespace {

Dtype make_plain_of(Input& input, std::optional<Dtype> target) {
  PlainModel plan = plan_plain(input, target);
  const Dtype dtype = plan.target;
  const PlainChange change = make_plain(input, std::move(plan));
  print_note(fmt::format("{} {}", escape_name(input.name), change.line));
  return dtype;
}

}  // namespace

Dtype dequantize(const InspectOptions& options, Input& input) {
  return make_plain_of(input, options.plain_dtype);
}

void prepare_print(const InspectOptions& options, Input& input) {
  const std::optional<QuantSummary> summary = sum_up_quantised(input);
  if (!summary) return;
  const std::string_view wanted = *options.print;
  const auto module =
      std::find_if(summary->modules.begin(), summary->modules.end(), [&](const QuantModule& one) {
        return wanted == one.name || (wanted.starts_with(one.name) && wanted[one.name.size()] == '[');
      });
  if (module == summary->modules.end()) return;
  if (input.weights.tensors[module->weight].name != module->name) {
    make_plain_of(input, options.plain_dtype);
  } else {
    print_note(
        fmt::format("'{}' is quantised, and these are its stored values; --dequantize prints the plain ones",
                    escape_name(module->name)));
  }
}

PlainSides prepare_sides(const InspectOptions& options, Input& a, Input& b) {
  PlainSides sides;
  if (!options.dequantize) {
    sides = make_sides_plain(a, b);
  } else {
    const bool in_a = is_quantised(a), in_b = is_quantised(b);
    if (!in_a && !in_b) throw refused("--dequantize: neither A nor B is quantised");
    if (in_a) sides.a = make_plain_of(a, options.plain_dtype);
    if (in_b) sides.b = make_plain_of(b, options.plain_dtype);
  }
  for (const std::string& note : sides.notes) print_note(note);
  for (const std::string& warning : sides.warnings) print_warning(warning);
  return sides;
}

}  // namespace mu
