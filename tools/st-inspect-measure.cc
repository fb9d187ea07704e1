// SPDX-License-Identifier: Apache-2.0
// One input is judged and measured: findings come first, then what was asked for. Statistics and hashes are printed on the
// way, a line for each tensor as soon as it is known; with --json they wait for the document at the end. The report of
// --check comes last, and decides the exit code with what was found. --combine goes the same way, with numbers that
// parts have measured in the place of tensors.
#include "st-inspect-measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/table.h"
#include "inspect/check.h"
#include "inspect/check_scales.h"
#include "inspect/listing.h"
#include "inspect/part.h"
#include "inspect/report.h"
#include "inspect/safety.h"
#include "model/dequantise.h"
#include "model/quant_summary.h"
#include "os/far.h"
#include "remote.h"
#include "st-inspect-plain.h"
#include "weights/layout.h"
#include "weights/open/open.h"
#include "weights/ranks/copies.h"

namespace mu {
namespace {

using Options = InspectOptions;

std::uint64_t bytes_of(const std::vector<const Tensor*>& tensors) {
  std::uint64_t total = 0;
  for (const Tensor* tensor : tensors) total += tensor->size;
  return total;
}

// Columns of the table of statistics.
enum Column : std::size_t {
  kDtype = 1,
  kValues = 2,
  kMean = 5,
  kStd,
  kAbsmax,
  kZeros,
  kNan,
  kInf,
  kMagnitudes,
  kRemarks
};
constexpr auto kColumns =
    std::to_array<const char*>({"name", "dtype", "values", "min", "max", "mean", "std", "absmax", "zeros",
                                "nan", "inf", "magnitudes", "remarks"});
constexpr int kShownDigits = 4, kPipedDigits = 6;

// The table in `width` columns: the least telling columns are left out first, NaN and infinities only where there are none.
std::string fitted(Table table, const TensorStats& total, std::size_t width) {
  std::vector<std::size_t> order;
  if (total.nan == 0) order.push_back(kNan);
  if (total.positive_infinity + total.negative_infinity == 0) order.push_back(kInf);
  const std::size_t silent = order.size();
  for (const std::size_t column : {kMagnitudes, kAbsmax, kValues, kZeros, kDtype, kStd, kMean, kRemarks})
    order.push_back(column);
  const std::vector<std::size_t> gone = table.leave_out(order, width);
  std::vector<std::string> missed;
  for (std::size_t i = silent; i < gone.size(); ++i) missed.emplace_back(kColumns[gone[i]]);
  std::string text = table.text(0, width);
  if (!missed.empty())
    text += wrap("too narrow for " + join(missed, ", ") + "; a pipe gets all", width, 0) + "\n";
  return text;
}

std::vector<std::string> stats_row(std::string name, std::string dtype, const TensorStats& stats,
                                   int digits) {
  std::vector<std::string> row = stats_columns(stats, digits);
  row.insert(row.begin(), {std::move(name), std::move(dtype)});
  return row;
}

void note_odd_bools(const Input& input, const Tensor& tensor, const TensorStats& stats, Findings& findings) {
  if (stats.not_boolean == 0) return;
  findings.add({"ST-BOOL", Level::kSpec, true,
                fmt::format("tensor '{}' has {} other than 0 and 1", escape_name(tensor.name),
                            plural(stats.not_boolean, "byte")),
                input.weights.files[tensor.source].name, tensor.offset});
}

// On a terminal a table with a small histogram, else a TSV line a tensor as soon as it is known.
TensorStats print_stats(const Options& o, const Input& input, const std::vector<const Tensor*>& tensors,
                        Findings& findings, Measured& measured, const CombinedParts* parts) {
  const bool table_wanted = out_is_terminal() && !o.common.json;
  Table table("llrrrrrrrrrll");
  table.row({kColumns.begin(), kColumns.end()});
  const auto show = [&](const std::string& name, const std::string& dtype, const TensorStats& stats,
                        std::string remarks) {
    std::vector<std::string> row = stats_row(name, dtype, stats, table_wanted ? kShownDigits : kPipedDigits);
    if (table_wanted) row.push_back(draw_magnitudes(stats, 16));
    row.push_back(std::move(remarks));
    if (table_wanted) {
      table.row(std::move(row));
    } else {
      out(join(row, "\t") + "\n");
    }
  };
  const OnStats on_stats = [&](const Tensor& tensor, const TensorStats& stats) {
    note_odd_bools(input, tensor, stats, findings);
    if (o.common.json) {
      measured.stats.push_back(stats_json(tensor.dtype, stats));
    } else {
      show(escape_name(tensor.name), escape_name(type_text(tensor)), stats,
           stats_remarks(tensor.dtype, stats));
    }
  };
  const auto measured_now = [&] {
    Progress progress("reading", bytes_of(tensors), o.common.show_progress());
    return measure_stats(input.weights, tensors, o.common.thread_count(), progress, on_stats);
  };
  const TensorStats total = parts != nullptr ? parts->stats(tensors, on_stats) : measured_now();
  if (o.common.json) return total;
  show("(total)", "-", total, "");
  if (table_wanted) out(fitted(std::move(table), total, out_width()));
  return total;
}

void print_hashes(const Input& input, const std::vector<const Tensor*>& tensors, const Hashes& hashes) {
  for (std::size_t i = 0; i < hashes.files.size(); ++i)
    out(fmt::format("file\t{}\t{}\n", hashes.files[i], escape_name(input.weights.files[i].name)));
  for (std::size_t i = 0; i < tensors.size(); ++i)
    out(fmt::format("tensor\t{}\t{}\n", hashes.tensors[i], escape_name(tensors[i]->name)));
  out(fmt::format("content\t{}\t{}\n", hashes.content, escape_name(input.name)));
}

// What --fail-on can't vouch for: a sentence on the tensors whose values have no reader (the block types of
// GGUF), or nothing.
std::string unread_text(const std::vector<const Tensor*>& tensors) {
  const auto is_unread = [](const Tensor* tensor) { return tensor->dtype == Dtype::kForeign; };
  const auto first = std::find_if(tensors.begin(), tensors.end(), is_unread);
  if (first == tensors.end()) return "";
  return fmt::format("--fail-on can't look into {} of {}, such as '{}': the type {} is not read",
                     std::count_if(tensors.begin(), tensors.end(), is_unread),
                     plural(tensors.size(), "tensor"), escape_name((*first)->name),
                     escape_name(type_text(**first)));
}

// Scales are read where they are near, and not out of a stream.
Findings findings_of_scales(const Options& o, const Input& input, const Findings& known) {
  const bool near = !is_far_name(input.name), kept = has_data(input.weights);
  if ((!near || !kept) && is_quantised(input))
    print_note(fmt::format("{}: values of scales were not read, as {}", escape_name(input.name),
                           kept ? "the model is on another machine" : "it is a stream"));
  if (!kept) return {};
  Progress progress("reading scales", 0, o.common.show_progress());
  return check_scales(input, known, near, o.common.thread_count(), progress);
}

// With `parts`, what they say; else what is read now.
int measure_with(const Options& o, const Input& input, const std::vector<const Tensor*>& tensors,
                 const CombinedParts* parts, const Input* base) {
  const bool loadable = input.weights.findings.first_up_to(Level::kLoads) == nullptr;
  Findings findings = check_input(input);
  if (o.check && o.level == Level::kHub && loadable && !is_refused(input))
    findings.add_all(findings_of_scales(o, input, findings));
  Measured measured;
  if (base != nullptr && !is_refused(input)) {
    measured.in_base = check_adapter(input, *base);
    findings = findings.without("AD-RANK");  // which is judged for each module now
  }
  bool failed = false;
  if (o.stats && loadable) {
    measured.total = print_stats(o, input, tensors, findings, measured, parts);
    failed = (o.fail_on_nan && measured.total->nan > 0) ||
             (o.fail_on_inf && measured.total->positive_infinity + measured.total->negative_infinity > 0);
  }
  if (o.hash && loadable) {
    if (parts != nullptr) {
      measured.hashes = parts->hashes(input.weights, tensors);
    } else {
      std::uint64_t total = bytes_of(tensors);
      for (const WeightsFile& file : input.weights.files) total += file.size;
      Progress progress("hashing", total, o.common.show_progress());
      measured.hashes = measure_hashes(input.weights, tensors, o.common.thread_count(), progress);
    }
    if (!o.common.json) print_hashes(input, tensors, *measured.hashes);
  }
  if (o.common.json) {
    Findings all = findings;
    if (measured.in_base) all.add_all(measured.in_base->findings);
    out(input_json(input, gather_facts(input), all, tensors, measured, o.paths.size() == 1 ? 2 : 0));
  } else if (o.check) {
    out(safety_text(input));
    // "sound" would be the wrong word on a pickle that runs code, and on an adapter that its base does not take.
    const bool may_be_sound =
        safety_exit_code(input) == 0 && (!measured.in_base || is_applied(*measured.in_base));
    if (may_be_sound || !findings.list().empty()) out(check_text(input, findings, o.level));
    if (measured.in_base) out(adapter_check_text(*measured.in_base));
  }
  if (o.check)
    if (const int checked = check_exit_code(input, findings, o.level)) return checked;
  if (measured.in_base && !is_applied(*measured.in_base)) return 1;
  if (!o.check && !o.common.json) warn_of_danger(input);  // a report has it already
  if (is_refused(input)) return 4;
  if (failed) return 1;
  const std::string unread = o.fail_on && loadable ? unread_text(tensors) : "";
  if (unread.empty()) return 0;
  print_warning(escape_name(input.name) + ": " + unread);
  return exit_code(ErrorKind::kPartial);
}

}  // namespace

void warn_of_danger(const Input& input) {
  if (const std::string text = danger_text(input); !text.empty()) print_warning(text);
  for (const Component& component : input.components) warn_of_danger(component.input);
}

int measure(const InspectOptions& options, const Input& input, const std::vector<const Tensor*>& tensors,
            const Input* base) {
  if (options.check) require_equal_copies(input.weights, options.common.thread_count());
  return measure_with(options, input, tensors, nullptr, base);
}

int measure_part(const InspectOptions& o, const Input& input, const std::vector<const Tensor*>& tensors,
                 std::optional<Dtype> plain) {
  const MeasurePlan plan{input.name, o.filters, o.sort.value_or(""), o.stats, o.hash, plain};
  const PartUnits units = part_units(plan, *o.part, input.weights, tensors);
  if (o.common.dry_run) {
    out(part_text(units, input.weights, tensors));
  } else {
    Progress progress("measuring", units.bytes, o.common.show_progress());
    out(measure_part(plan, *o.part, input.weights, tensors, o.common.thread_count(), progress));
  }
  warn_of_danger(input);
  return is_refused(input) ? 4 : 0;
}

int combine(InspectOptions o) {
  const CombinedParts parts(o.paths);
  const MeasurePlan& plan = parts.plan();  // what was asked for; how to print it is asked for now
  if ((o.stats && !plan.stats) || (o.hash && !plan.hash))
    throw usage("the parts don't contain what is asked for").in_file(escape_name(o.paths.front()));
  o.paths = {plan.path};
  o.filters = plan.filters;
  if (!plan.sort.empty()) o.sort = plan.sort;
  o.stats = plan.stats;
  o.hash = plan.hash;
  o.dequantize = plan.plain.has_value();
  o.plain_dtype = plan.plain;
  o.combine = false;
  derive(o);
  Input input =
      open_operand(plan.path, StreamData::kLeave, {.components = FolderOptions::Components::kBeside});
  require_loadable(input);
  if (o.dequantize) dequantize(o, input);
  const std::vector<const Tensor*> tensors = choose_tensors(input.weights, o.globs, o.sort_key);
  parts.require_whole(input.weights, tensors);
  return measure_with(o, input, tensors, &parts, nullptr);
}

}  // namespace mu
