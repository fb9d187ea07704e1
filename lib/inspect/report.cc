// SPDX-License-Identifier: Apache-2.0
#include "inspect/report.h"

#include "base/json_write.h"
#include "base/text.h"
#include "inspect/check.h"
#include "inspect/object.h"
#include "inspect/rank_pieces.h"
#include "inspect/safety.h"
#include "os/folder.h"
#include "weights/layout.h"

namespace mu {
namespace {

void write_model(JsonWriter& json, const Input& input) {
  if (input.config) {
    json.key("architectures").begin_array();
    for (const std::string& architecture : input.config->architectures) json.value(architecture);
    json.end_array().member("model_type", input.config->model_type);
  }
  if (input.adapter && input.is_adapter()) {
    json.key("adapter")
        .begin_object()
        .member("peft_type", input.adapter->peft_type)
        .member("base_model", input.adapter->base_model);
    if (input.adapter->rank) json.member("r", *input.adapter->rank);
    if (input.adapter->alpha) json.member("lora_alpha", *input.adapter->alpha);
    json.end_object();
  }
  if (input.state) {
    json.key("checkpoint").begin_object();
    if (input.state->global_step) json.member("step", *input.state->global_step);
    if (input.state->max_steps) json.member("max_steps", *input.state->max_steps);
    if (input.state->epoch) json.member("epoch", *input.state->epoch);
    if (input.state->best_metric) json.member("best_metric", *input.state->best_metric);
    json.member("best_model_checkpoint", input.state->best_model_checkpoint).end_object();
  }
}

void write_quantisation(JsonWriter& json, const InputFacts& facts) {
  if (!facts.quantised) return;
  const QuantSummary& summary = *facts.quantised;
  if (summary.plain_bytes > 0)
    json.member("logical_parameters", summary.plain_parameters).member("plain_bytes", summary.plain_bytes);
  json.key("quantization").begin_object().member("method", summary.method).member("format", summary.format);
  if (const std::optional<double> bits = summary.effective_bits()) json.member("effective_bits", *bits);
  json.member("modules", std::uint64_t{summary.modules.size()}).end_object();
}

void write_stats(JsonWriter& json, const TensorStats& stats) {
  json.member("count", stats.count);
  if (stats.finite > 0)
    json.member("min", stats.min)
        .member("max", stats.max)
        .member("mean", stats.mean)
        .member("absmax", stats.absmax());
  if (stats.finite > 1) json.member("std", stats.std());
  json.member("zeros", stats.zero)
      .member("negative_zeros", stats.negative_zero)
      .member("subnormals", stats.subnormal);
  json.member("nan", stats.nan)
      .member("positive_infinities", stats.positive_infinity)
      .member("negative_infinities", stats.negative_infinity);
  json.member("constant", stats.constant()).member("all_zero", stats.all_zero());
}

void write_tensors(JsonWriter& json, const Input& input, const std::vector<const Tensor*>& tensors,
                   const Measured& measured) {
  json.key("tensors").begin_array();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& tensor = *tensors[i];
    json.begin_object()
        .member("name", tensor.name)
        .member("dtype", type_name(tensor))
        .key("shape")
        .numbers(tensor.shape);
    json.member("parameters", tensor.element_count()).member("bytes", tensor.size);
    json.member("file", base_name(input.weights.files[tensor.source].name)).member("offset", tensor.offset);
    if (i < measured.stats.size()) {
      json.key("stats").raw(measured.stats[i]);
    }
    if (measured.hashes) json.member("hash", measured.hashes->tensors[i]);
    write_piece(json, input.weights, tensor);
    json.end_object();
  }
  json.end_array();
}

void write_files(JsonWriter& json, const Input& input, const Measured& measured) {
  json.key("weights_files").begin_array();
  for (std::size_t i = 0; i < input.weights.files.size(); ++i) {
    const WeightsFile& file = input.weights.files[i];
    json.begin_object()
        .member("file", base_name(file.name))
        .member("bytes", file.size)
        .member("data_offset", file.data_begin);
    if (measured.hashes) json.member("sha256", measured.hashes->files[i]);
    json.end_object();
  }
  json.end_array();
  if (!input.folder) return;
  json.key("files").begin_array();
  for (const FolderFile& file : input.folder->files) {
    json.begin_object()
        .member("file", file.name)
        .member("bytes", file.size)
        .member("role", role_name(file.role))
        .end_object();
  }
  json.end_array();
}

}  // namespace

std::string stats_json(Dtype dtype, const TensorStats& stats) {
  std::string text;
  JsonWriter json(text, 0);
  json.begin_object();
  write_stats(json, stats);
  if (dtype == Dtype::kF32) json.member("fits_bf16", stats.fits_bf16);
  if (dtype == Dtype::kBool) json.member("not_boolean", stats.not_boolean);
  json.end_object();
  return text;
}

std::string input_json(const Input& input, const InputFacts& facts, const Findings& findings,
                       const std::vector<const Tensor*>& tensors, const Measured& measured, int indent) {
  std::string text;
  JsonWriter json(text, indent);
  const std::optional<Level> reached = level_reached(findings);
  json.begin_object()
      .member("schema", "modelutils.st-inspect/1")
      .member("path", input.name)
      .member("kind", facts.kind);
  json.member("level", reached ? level_name(*reached) : "none");
  if (input.weights.from_ranks) json.member("origin", input.weights.from_ranks->origin);
  write_rank(json, input);
  write_model(json, input);
  json.member("tensor_count", facts.tensors)
      .member("parameters", facts.elements)
      .member("bytes", facts.bytes);
  write_quantisation(json, facts);
  json.key("dtypes").begin_array();
  for (const DtypeTotal& total : facts.dtypes) {
    json.begin_object()
        .member("dtype", total.dtype == Dtype::kForeign ? total.text : name(total.dtype))
        .member("tensors", total.tensors);
    json.member("parameters", total.elements).member("bytes", total.bytes).end_object();
  }
  json.end_array().key("metadata").begin_object();
  for (const auto& [key, value] : input.weights.merged_metadata()) json.member(key, value);
  json.end_object();
  write_files(json, input, measured);
  write_tensors(json, input, tensors, measured);
  json.key("findings").begin_array();
  for (const Finding& finding : findings.list()) {
    json.begin_object()
        .member("rule", finding.rule)
        .member("level", level_name(finding.level))
        .member("warning", finding.warning);
    json.member("file", finding.file);
    if (finding.offset) json.member("offset", *finding.offset);
    json.member("message", finding.message).end_object();
  }
  json.end_array().key("notes").begin_array();
  for (const std::string& note : facts.notes) json.value(note);
  json.end_array();
  if (measured.in_base) write_adapter_check(json, *measured.in_base);
  write_object(json, input);
  write_pickles(json, input);
  if (measured.total) {
    json.key("stats").begin_object();
    write_stats(json, *measured.total);
    json.end_object();
  }
  if (measured.hashes) json.member("content_digest", measured.hashes->content);
  json.end_object();
  return text + "\n";
}

}  // namespace mu
