// SPDX-License-Identifier: Apache-2.0
// What the four things that lora-extract does have found, each as a table for people and as a document for programs.
// Both are made of the same values, in the order in which the planners left them. Tables escape the names that files
// have, documents keep them; members of documents are added and never changed. A file's bytes are those of the plan,
// so that a dry run reports the same.
#include "lora/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/json_write.h"
#include "base/sizes.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/table.h"

namespace mu {
namespace {

std::uint64_t parameters_of(const Extraction& extraction) {
  std::uint64_t count = 0;
  for (const Tensor& tensor : extraction.input.weights.tensors) count += tensor.element_count();
  return count;
}

std::string ranks_text(const Extraction& extraction) {
  const auto [low, high] =
      std::minmax_element(extraction.modules.begin(), extraction.modules.end(),
                          [](const LoraModule& a, const LoraModule& b) { return a.rank < b.rank; });
  if (low == extraction.modules.end()) return "";
  return low->rank == high->rank ? fmt::format(" of rank {}", low->rank)
                                 : fmt::format(" of ranks {} to {}", low->rank, high->rank);
}

// At most 24 values, one block lower for each power of two below the largest.
std::string draw_spectrum(const std::vector<double>& values) {
  constexpr std::string_view kBlocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  std::string text;
  for (std::size_t i = 0; i < std::min<std::size_t>(24, values.size()); ++i) {
    const double height = values[i] > 0 ? 7 + std::log2(values[i] / values[0]) : 0;
    text += kBlocks[static_cast<std::size_t>(std::clamp(height, 0.0, 7.0))];
  }
  return text;
}

JsonWriter& begin_document(JsonWriter& json, std::string_view mode) {
  return json.begin_object().member("schema", "modelutils.lora-extract/1").member("mode", mode);
}

void write_files(JsonWriter& json, const std::vector<std::pair<std::string, std::uint64_t>>& files) {
  json.key("files").begin_array();
  for (const auto& [name, bytes] : files)
    json.begin_object().member("file", name).member("bytes", bytes).end_object();
  json.end_array();
}

// Only with --for.
void write_form(JsonWriter& json, const std::optional<ServedForm>& form) {
  if (!form) return;
  json.key("for").begin_object().member("server", lower_ascii(server_name(form->server)));
  json.member("rank", form->rank);
  if (form->max_rank > 0) json.member("max_lora_rank", form->max_rank);
  json.member("zero_pairs", form->zeros).member("scaled", form->scaled).end_object();
}

}  // namespace

std::string modules_text(const Extraction& extraction) {
  std::string text;
  for (const LoraModule& module : extraction.modules)
    text += fmt::format(
        "{}\trank {}\tscale {:g}\t{} x {}{}{}\n", escape_name(module.name), module.rank, module.scale,
        module.b == nullptr ? 0 : module.b->shape[0], module.a == nullptr ? 0 : module.a->shape[1],
        module.is_embedding ? "\tembedding" : "", module.magnitude != nullptr ? "\tDoRA" : "");
  return text;
}

std::string extraction_line(const Extraction& extraction) {
  const LoraConfig& config = extraction.config;
  return fmt::format("{}{}, alpha {:g}{}, {} parameters", plural(extraction.modules.size(), "module"),
                     ranks_text(extraction), config.alpha, config.use_rslora ? ", rsLoRA" : "",
                     group_digits(parameters_of(extraction)));
}

std::string extraction_json(const Extraction& extraction, const std::string& out, bool done,
                            std::optional<std::uint64_t> to_read,
                            const std::vector<std::pair<std::string, std::uint64_t>>& files) {
  std::string text;
  JsonWriter json(text);
  begin_document(json, "checkpoint")
      .member("input", extraction.input.name)
      .member("output", out)
      .member("done", done)
      .member("rank", extraction.config.rank)
      .member("alpha", extraction.config.alpha)
      .member("base_model", extraction.config.base_model)
      .member("config_made", extraction.made_config)
      .member("parameters", parameters_of(extraction));
  if (to_read) json.member("to_read", *to_read);
  json.key("modules").begin_array();
  for (const LoraModule& module : extraction.modules)
    json.begin_object()
        .member("name", module.name)
        .member("rank", module.rank)
        .member("scale", module.scale)
        .member("embedding", module.is_embedding)
        .member("dora", module.magnitude != nullptr)
        .end_object();
  json.end_array();
  write_files(json, files);
  json.key("notes").begin_array();
  for (const std::string& note : extraction.notes) json.value(note);
  json.end_array();
  write_form(json, extraction.form);
  json.end_object();
  return text + "\n";
}

std::string pair_text(const PairResult& result, bool spectra) {
  Table table(spectra ? "lrrrrl" : "lrrrr");
  std::vector<std::string> head = {"module", "rank", "error", "energy", "gap"};
  if (spectra) head.emplace_back("singular values");
  table.row(std::move(head));
  for (const ModuleReport& module : result.modules) {
    std::vector<std::string> row = {escape_name(module.name), std::to_string(module.rank),
                                    fmt::format("{:.3g}", module.error), fmt::format("{:.4f}", module.energy),
                                    module.gap == 0 ? "exact" : fmt::format("{:.2g} %", 100 * module.gap)};
    if (spectra) row.push_back(draw_spectrum(module.values));
    table.row(std::move(row));
  }
  return table.text(0, out_width());
}

std::vector<std::string> pair_notes(const PairResult& result) {
  const auto names = [](const std::vector<std::string>& list) {
    constexpr std::size_t kShown = 5;
    std::string text;
    for (std::size_t i = 0; i < std::min(kShown, list.size()); ++i)
      text += (i > 0 ? ", " : "") + escape_name(list[i]);
    return text + (list.size() > kShown ? fmt::format(" and {} more", list.size() - kShown) : "");
  };
  std::vector<std::string> lines = result.notes;
  if (result.unchanged > 0)
    lines.push_back(fmt::format("{} unchanged and left out", plural(result.unchanged, "module")));
  if (!result.whole.empty())
    lines.push_back(fmt::format(
        "{} stored whole: {}",
        result.whole.size() == 1 ? "1 tensor is" : fmt::format("{} tensors are", result.whole.size()),
        names(result.whole)));
  return lines;
}

namespace {

void write_names(JsonWriter& json, const SeenNamesOfPair& seen) {
  if (!seen.any()) return;
  json.key("names").begin_object();
  for (const auto& [key, side] : {std::pair("base", &seen.base), std::pair("tuned", &seen.tuned)})
    json.key(key)
        .begin_object()
        .member("published", side->published)
        .member("older", side->older)
        .end_object();
  json.end_object();
}

}  // namespace

std::string pair_json(const PairResult& result, const std::string& base, const std::string& tuned,
                      const std::string& out, bool done,
                      const std::vector<std::pair<std::string, std::uint64_t>>& files) {
  std::string text;
  JsonWriter json(text);
  begin_document(json, "pair")
      .member("base", base)
      .member("tuned", tuned)
      .member("output", out)
      .member("done", done)
      .member("rank", result.config.rank)
      .member("alpha", result.config.alpha)
      .member("kernel", result.kernel)
      .member("unchanged", result.unchanged);
  write_names(json, result.seen);
  json.key("modules").begin_array();
  for (const ModuleReport& module : result.modules) {
    json.begin_object().member("name", module.name).key("shape").numbers({module.m, module.n});
    json.member("rank", module.rank)
        .member("norm", module.norm)
        .member("error", module.error)
        .member("energy", module.energy)
        .member("gap", module.gap);
    json.key("values").begin_array();
    for (const double value : module.values) json.value(value);
    json.end_array().end_object();
  }
  json.end_array();
  for (const auto& [key, names] : {std::pair("whole", &result.whole), std::pair("lost", &result.lost)}) {
    json.key(key).begin_array();
    for (const std::string& name : *names) json.value(name);
    json.end_array();
  }
  write_files(json, files);
  write_form(json, result.form);
  json.end_object();
  return text + "\n";
}

std::string pair_plan_json(const PairPlan& plan, const std::vector<std::size_t>& units,
                           const std::string& base, const std::string& tuned, const std::string& out,
                           const PairFetch& fetch) {
  std::string text;
  JsonWriter json(text);
  begin_document(json, "pair").member("base", base).member("tuned", tuned).member("output", out);
  json.member("done", false);
  if (!fetch.sequence.empty()) json.member("to_read", fetch.bytes);
  write_names(json, plan.seen);
  json.key("modules").begin_array();
  for (const std::size_t unit : units) {
    const PairTensor& pair = plan.tensors[unit];
    if (!is_matrix(pair)) continue;
    json.begin_object().member("name", pair.module).key("shape").numbers({pair.rows, pair.columns});
    json.end_object();
  }
  json.end_array().key("whole").begin_array();
  for (const std::size_t unit : units) {
    const PairTensor& pair = plan.tensors[unit];
    if (!is_matrix(pair) && pair.kind != PairKind::kOther) json.value(pair.module);
  }
  json.end_array().end_object();
  return text + "\n";
}

std::string to_read_text(const PairFetch& fetch) {
  if (fetch.sequence.empty()) return "";
  return fmt::format("would read {} in {} over the network\n", format_size(fetch.bytes),
                     plural(fetch.files, "file"));
}

std::string comparison_text(const AdapterComparison& found) {
  Table table("lrrrrr");
  table.row({"module", "distance", "cosine", "largest angle", "mean angle", "ranks"});
  for (const ModuleComparison& module : found.modules) {
    if (!module.in_a || !module.in_b) {
      table.row({escape_name(module.name), module.in_a ? "only in A" : "only in B"});
      continue;
    }
    table.row({escape_name(module.name), fmt::format("{:.3g}", module.deltas.distance),
               fmt::format("{:.6f}", module.deltas.cosine),
               fmt::format("{:.2f}°", module.deltas.largest_angle),
               fmt::format("{:.2f}°", module.deltas.mean_angle),
               fmt::format("{}, {}", module.rank_a, module.rank_b)});
  }
  for (const TensorComparison& tensor : found.tensors) {
    const std::string only = tensor.in_a ? "only in A" : "only in B";
    table.row({escape_name(tensor.name),
               tensor.in_a && tensor.in_b ? fmt::format("{:.3g}", tensor.distance) : only});
  }
  return table.text(0, out_width());
}

std::string comparison_json(const AdapterComparison& found, const std::string& a, const std::string& b) {
  std::string text;
  JsonWriter json(text);
  begin_document(json, "compare").member("a", a).member("b", b);
  json.key("modules").begin_array();
  for (const ModuleComparison& module : found.modules)
    json.begin_object()
        .member("name", module.name)
        .member("in_a", module.in_a)
        .member("in_b", module.in_b)
        .member("rank_a", module.rank_a)
        .member("rank_b", module.rank_b)
        .member("distance", module.deltas.distance)
        .member("cosine", module.deltas.cosine)
        .member("largest_angle", module.deltas.largest_angle)
        .member("mean_angle", module.deltas.mean_angle)
        .end_object();
  json.end_array().key("tensors").begin_array();
  for (const TensorComparison& tensor : found.tensors)
    json.begin_object()
        .member("name", tensor.name)
        .member("in_a", tensor.in_a)
        .member("in_b", tensor.in_b)
        .member("distance", tensor.distance)
        .end_object();
  json.end_array().end_object();
  return text + "\n";
}

std::string resized_text(const Resized& resized) {
  Table table("lrrr");
  table.row({"module", "rank", "was", "error"});
  for (const ResizedModule& module : resized.modules)
    table.row({escape_name(module.name), std::to_string(module.rank), std::to_string(module.old_rank),
               fmt::format("{:.3g}", module.error)});
  return table.text(0, out_width());
}

std::string resized_json(const Resized& resized, const std::string& input, const std::string& out,
                         bool done) {
  std::string text;
  JsonWriter json(text);
  begin_document(json, "resize").member("input", input).member("output", out).member("done", done);
  json.key("modules").begin_array();
  for (const ResizedModule& module : resized.modules)
    json.begin_object()
        .member("name", module.name)
        .member("old_rank", module.old_rank)
        .member("rank", module.rank)
        .member("error", module.error)
        .end_object();
  json.end_array().end_object();
  return text + "\n";
}

}  // namespace mu
