// SPDX-License-Identifier: Apache-2.0
#include "lora/report.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json_write.h"
#include "base/text.h"

namespace mu {
namespace {

std::uint64_t parameters_of(const Extraction& extraction) {
  std::uint64_t count = 0;
  for (const Tensor& tensor : extraction.input.weights.tensors) count += tensor.element_count();
  return count;
}

std::string ranks_text(const Extraction& extraction) {
  const auto [low, high] = std::minmax_element(extraction.modules.begin(), extraction.modules.end(),
                                               [](const LoraModule& a, const LoraModule& b) { return a.rank < b.rank; });
  if (low == extraction.modules.end()) return "";
  return low->rank == high->rank ? fmt::format(" of rank {}", low->rank)
                                 : fmt::format(" of ranks {} to {}", low->rank, high->rank);
}

}  // namespace

std::string modules_text(const Extraction& extraction) {
  std::string text;
  for (const LoraModule& module : extraction.modules)
    text += fmt::format("{}\trank {}\tscale {:g}\t{} x {}{}{}\n", escape_name(module.name), module.rank, module.scale,
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
                            const std::vector<std::pair<std::string, std::uint64_t>>& files) {
  std::string text;
  JsonWriter json(text);
  json.begin_object()
      .member("schema", "modelutils.lora-extract/1")
      .member("mode", "checkpoint")
      .member("input", extraction.input.name)
      .member("output", out)
      .member("done", done)
      .member("rank", extraction.config.rank)
      .member("alpha", extraction.config.alpha)
      .member("base_model", extraction.config.base_model)
      .member("config_made", extraction.made_config)
      .member("parameters", parameters_of(extraction));
  json.key("modules").begin_array();
  for (const LoraModule& module : extraction.modules)
    json.begin_object()
        .member("name", module.name)
        .member("rank", module.rank)
        .member("scale", module.scale)
        .member("embedding", module.is_embedding)
        .member("dora", module.magnitude != nullptr)
        .end_object();
  json.end_array().key("files").begin_array();
  for (const auto& [name, bytes] : files) json.begin_object().member("file", name).member("bytes", bytes).end_object();
  json.end_array().key("notes").begin_array();
  for (const std::string& note : extraction.notes) json.value(note);
  json.end_array().end_object();
  return text + "\n";
}

}  // namespace mu
