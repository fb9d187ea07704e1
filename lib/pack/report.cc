// SPDX-License-Identifier: Apache-2.0
#include "pack/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/json_write.h"
#include "base/sizes.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/table.h"
#include "pack/far_plan.h"
#include "pack/far_report.h"
#include "pack/quant_report.h"

namespace mu {
namespace {

// "F32 ×19, BF16 ×2 from F32".
std::string dtype_summary(const WeightsOutput& file) {
  std::map<std::pair<Dtype, Dtype>, std::uint64_t> counts;
  for (const PackedTensor& tensor : file.tensors)
    ++counts[{tensor.output.dtype, tensor.sources().front()->dtype}];
  std::vector<std::string> parts;
  for (const auto& [types, count] : counts) {
    const std::string from =
        types.first == types.second ? "" : fmt::format(" from {}", short_name(types.second));
    parts.push_back(fmt::format("{} ×{}{}", short_name(types.first), group_digits(count), from));
  }
  return join(parts, ", ");
}

bool is_text(const PackPlan& plan, const std::string& name) {
  return std::any_of(plan.texts.begin(), plan.texts.end(),
                     [&name](const TextOutput& text) { return text.name == name; });
}

bool is_gathered(const PackPlan& plan, const std::string& name) {
  return std::any_of(plan.files.begin(), plan.files.end(),
                     [&name](const GatheredFile& file) { return file.name == name; });
}

void write_names(JsonWriter& json, const NamesReport& report) {
  constexpr std::string_view kWritten[] = {"as they are", "published", "memory"};
  json.member("side", report.side)
      .member("memory", report.counts.memory)
      .member("published", report.counts.published)
      .member("neutral", report.counts.neutral)
      .member("foreign", report.counts.foreign)
      .member("written", kWritten[static_cast<std::size_t>(report.change)])
      .member("changed", report.changed)
      .member("tensors_before", report.before)
      .member("tensors", report.after);
}

void write_names(JsonWriter& json, const PackPlan& plan) {
  if (plan.names) {
    json.key("names").begin_object();
    write_names(json, *plan.names);
    json.end_object();
  }
  if (plan.component_names.empty()) return;
  json.key("names_of_folders").begin_array();
  for (const auto& [folder, report] : plan.component_names) {
    json.begin_object().member("folder", folder);
    write_names(json, report);
    json.end_object();
  }
  json.end_array();
}

void write_facts(JsonWriter& json, const PlainFacts& facts) {
  json.member("method", facts.method).member("format", facts.format).member("dtype", name(facts.dtype));
  json.member("weights", facts.weights);
  json.member("bytes_before", facts.stored_bytes).member("bytes_after", facts.plain_bytes);
}

// What was quantised: the model in the folder itself, and those in folders below.
void write_plain(JsonWriter& json, const PackPlan& plan) {
  const auto is_top = [](const auto& one) { return one.first.empty(); };
  for (const auto& [folder, facts] : plan.plain) {
    if (!folder.empty()) continue;
    json.key("dequantized").begin_object();
    write_facts(json, facts);
    json.end_object();
  }
  if (std::all_of(plan.plain.begin(), plan.plain.end(), is_top)) return;
  json.key("dequantized_of_folders").begin_array();
  for (const auto& [folder, facts] : plan.plain) {
    if (folder.empty()) continue;
    json.begin_object().member("folder", folder);
    write_facts(json, facts);
    json.end_object();
  }
  json.end_array();
}

void write_tensor(JsonWriter& json, const PackedTensor& tensor) {
  const std::span<const Tensor* const> sources = tensor.sources();
  json.begin_object().member("name", tensor.output.name).member("from", sources.front()->name);
  json.member("dtype", name(tensor.output.dtype)).member("from_dtype", name(sources.front()->dtype));
  json.key("shape").numbers(tensor.output.shape).member("bytes", tensor.output.size);
  if (sources.size() > 1) {
    json.key("made_of").begin_array();
    for (const Tensor* source : sources) json.value(source->name);
    json.end_array();
  }
  json.end_object();
}

void write_losses(JsonWriter& json, const WriteResult& result) {
  json.key("losses").begin_array();
  for (const auto& [name, report] : result.losses) {
    json.begin_object().member("tensor", name).member("overflowed", report.overflowed);
    json.member("clipped", report.clipped).member("underflowed", report.underflowed).end_object();
  }
  json.end_array();
}

}  // namespace

std::string plan_text(const PackPlan& plan, const std::string& out,
                      const std::optional<Replacement>& replacement) {
  Table table("llrl");
  for (const WeightsOutput& file : plan.weights) {
    const std::string name = file.name.empty() ? out : file.name;
    table.row({"write", escape_name(name), format_size(file.size), dtype_summary(file)});
  }
  for (const TextOutput& text : plan.texts) {
    if (!is_gathered(plan, text.name))
      table.row({"write", escape_name(text.name), format_size(text.text.size()), "index"});
  }
  for (const GatheredFile& file : plan.files) {
    if (!file.taken) continue;
    table.row({is_text(plan, file.name) ? "edit" : "take", escape_name(file.name), format_size(file.size),
               file.reason});
  }
  for (const GatheredFile& file : plan.files) {
    if (!file.taken)
      table.row({"leave", escape_name(file.name), file.name.ends_with('/') ? "" : format_size(file.size),
                 file.reason});
  }
  if (plan.quantize) add_rows(table, *plan.quantize);
  for (const TiedName& pair : plan.dropped) {
    table.row({"drop", escape_name(pair.dropped), "",
               fmt::format("repeats {}, {}", escape_name(pair.kept),
                           pair.same_storage ? "shares its storage" : "config.json ties them")});
  }
  if (replacement) {
    for (const std::string& name : replacement->replaced)
      table.row({"replace", escape_name(name), "", "in " + escape_name(out)});
    for (const std::string& name : replacement->kept)
      table.row({"keep", escape_name(name), "", "in " + escape_name(out)});
  }
  const std::string part = plan.part ? fmt::format("part {}/{} of plan {}: ", plan.part->number.index,
                                                   plan.part->number.count, plan.part->fingerprint)
                                     : "";
  return table.text(0, out_width()) + part +
         fmt::format("{} in {}, {} to write\n", plural(plan.tensor_count(), "tensor"),
                     plural(plan.weights.size(), "file"), format_size(plan.total_bytes)) +
         far_text(plan);
}

std::string plan_json(const PackPlan& plan, const Input& input, const std::string& out,
                      const std::optional<Replacement>& replacement, const WriteResult* result) {
  std::string text;
  JsonWriter json(text);
  json.begin_object()
      .member("schema", "modelutils.st-pack/1")
      .member("input", input.name)
      .member("output", out);
  if (plan.part)
    json.key("share")
        .begin_object()
        .member("index", plan.part->number.index)
        .member("count", plan.part->number.count)
        .member("plan", plan.part->fingerprint)
        .end_object();
  json.member("done", result != nullptr).member("total_bytes", plan.total_bytes);
  if (is_far(plan)) json.member("to_read", plan_far(plan).bytes);
  if (result != nullptr && result->read)
    json.member("read", result->read->bytes).member("read_before", result->read->before);
  json.key("weights").begin_array();
  for (const WeightsOutput& file : plan.weights) {
    json.begin_object().member("file", file.name.empty() ? out : file.name).member("bytes", file.size);
    json.key("tensors").begin_array();
    for (const PackedTensor& tensor : file.tensors) write_tensor(json, tensor);
    json.end_array().end_object();
  }
  json.end_array().key("files").begin_array();
  for (const TextOutput& file : plan.texts) {
    if (is_gathered(plan, file.name)) continue;
    json.begin_object().member("file", file.name).member("action", "write").member("bytes", file.text.size());
    json.member("role", "index").member("reason", "index").end_object();
  }
  for (const GatheredFile& file : plan.files) {
    const char* const action = !file.taken ? "leave" : is_text(plan, file.name) ? "edit" : "take";
    json.begin_object().member("file", file.name).member("action", action).member("bytes", file.size);
    json.member("role", role_name(file.role)).member("reason", file.reason).end_object();
  }
  json.end_array().key("tied").begin_array();
  for (const TiedName& pair : plan.dropped)
    json.begin_object().member("dropped", pair.dropped).member("kept", pair.kept).end_object();
  json.end_array();
  write_names(json, plan);
  write_plain(json, plan);
  if (plan.quantize) write_quantize(json, *plan.quantize, result != nullptr);
  if (replacement) {
    for (const auto& [key, names] :
         {std::pair("replaced", &replacement->replaced), std::pair("kept", &replacement->kept)}) {
      json.key(key).begin_array();
      for (const std::string& name : *names) json.value(name);
      json.end_array();
    }
  }
  if (result != nullptr) {
    write_losses(json, *result);
    if (result->digest) json.member("digest", "st-content-1:" + *result->digest);
  }
  json.end_object();
  return text + "\n";
}

std::string summary_line(const PackPlan& plan, const std::string& out, const WriteResult& result) {
  const auto taken = static_cast<std::uint64_t>(
      std::count_if(plan.files.begin(), plan.files.end(), [](const GatheredFile& f) { return f.taken; }));
  std::string line = fmt::format("{}: {} in {}, {}", escape_name(out), plural(plan.tensor_count(), "tensor"),
                                 plural(plan.weights.size(), "weights file"), format_size(plan.total_bytes));
  if (plan.part)
    line = fmt::format("part {}/{} of ", plan.part->number.index, plan.part->number.count) + line;
  if (!plan.files.empty())
    line += fmt::format("; {} taken, {} left", plural(taken, "other file"),
                        group_digits(plan.files.size() - taken));
  if (result.read) line += read_text(plan, *result.read);
  return line;
}

std::string loss_text(const std::string& tensor, const CastReport& report) {
  std::vector<std::string> parts;
  if (report.overflowed > 0) parts.push_back(plural(report.overflowed, "value") + " overflowed");
  if (report.clipped > 0) parts.push_back(plural(report.clipped, "value") + " clipped");
  if (report.underflowed > 0) parts.push_back(plural(report.underflowed, "value") + " became 0");
  return escape_name(tensor) + ": " + join(parts, ", ");
}

}  // namespace mu
