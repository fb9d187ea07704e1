// SPDX-License-Identifier: Apache-2.0
#include "inspect/check_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "model/adapter_names.h"
#include "model/quantised.h"
#include "model/wrappers.h"
#include "weights/torch/object.h"

namespace mu {
namespace {

// Counts tensors of a kind and remembers the first.
struct Tally {
  std::uint64_t count = 0;
  const Tensor* first = nullptr;

  void add(const Tensor& tensor) {
    if (count++ == 0) first = &tensor;
  }
  [[nodiscard]] std::string example() const { return "'" + escape_name(first->name) + "'"; }
};

class TensorCheck {
 public:
  TensorCheck(const Input& input, Findings& findings)
      : input_(input), tensors_(input.weights.tensors), findings_(findings) {}

  void run() {
    if (!is_model_or_adapter()) return;
    parts_ = quant_parts(tensors_);
    check_placeholders();
    if (!input_.weights.from_ranks) check_wrappers();
    if (!input_.folder) return;
    if (input_.is_adapter()) {
      check_adapter();
    } else {
      check_quantisation();
      check_dtype();
    }
  }

 private:
  void found(std::string_view rule, std::string message, std::string_view file = {},
             Level level = Level::kHub) {
    findings_.add({rule, level, false, std::move(message),
                   file.empty() || !input_.folder ? input_.name : input_.folder->path_of(file)});
  }

  // Optimizer states, arrays and GGUF files follow rules of their own; a lone torch file may be anything.
  [[nodiscard]] bool is_model_or_adapter() const {
    return std::all_of(input_.weights.files.begin(), input_.weights.files.end(),
                       [this](const WeightsFile& file) {
                         if (file.is_safetensors) return true;
                         return input_.folder && file.object && file.object->is_state_dict;
                       }) ||
           input_.weights.from_ranks.has_value();
  }

  // ZeRO stage 3 leaves vectors without elements where parameters were. Companions of quantised weights and
  // buffers of integers may be empty.
  void check_placeholders() {
    Tally empty;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      const Tensor& tensor = tensors_[i];
      if (tensor.shape == std::vector<std::uint64_t>{0} && is_floating(tensor.dtype) &&
          parts_[i].role == QuantRole::kPlain)
        empty.add(tensor);
    }
    if (input_.is_adapter() && empty.count == tensors_.size())
      return found("AD-EMPTY",
                   tensors_.empty() ? "the adapter holds no tensors"
                                    : "all tensors of the adapter are empty, as ZeRO stage 3 leaves them",
                   {}, Level::kSpec);
    if (empty.count > 0)
      found("MD-PLACEHOLDER",
            fmt::format("{} of {} have shape [0], such as {}: ZeRO stage 3 left them, their values are with "
                        "the ranks",
                        empty.count, plural(tensors_.size(), "tensor"), empty.example()));
  }

  // What st-pack would remove, and what begins all names of an adapter, where it does not know better.
  void check_wrappers() {
    const bool adapter = input_.is_adapter() || holds_only_adapter(input_.weights);
    const WrapperRemoval removal = plan_wrapper_removal(tensors_, {.of_adapter = adapter});
    for (const WrapperRemoval::Removed& removed : removal.removed)
      found("MD-WRAPPER", fmt::format("'{}' of a wrapper in {}: loaders don't find them; st-pack removes it",
                                      removed.wrapper, plural(removed.names, "name")));
    if (!adapter || tensors_.empty()) return;
    for (const std::string_view wrapper : {"module.", "_forward_module."}) {
      if (std::all_of(tensors_.begin(), tensors_.end(),
                      [wrapper](const Tensor& tensor) { return tensor.name.starts_with(wrapper); }))
        found("MD-WRAPPER",
              fmt::format("'{}' of a wrapper begins all names of the adapter: PEFT doesn't find them; "
                          "lora-extract removes it",
                          wrapper));
    }
  }

  void check_adapter() {
    if (!input_.adapter || input_.adapter->peft_type != "LORA") return;
    const AdapterConfig& config = *input_.adapter;
    if (!config.fault.empty()) return found("AD-CONFIG", config.fault, "adapter_config.json");
    try {
      check_ranks(*config.patterns);
    } catch (const Error& error) {  // a pattern that takes too long
      found("AD-CONFIG", error.message(), "adapter_config.json");
    }
  }

  void check_ranks(const AdapterPatterns& config) {
    Tally wrong;
    std::uint64_t stored = 0, stated = 0;
    for (const Tensor& tensor : tensors_) {
      const AdapterName name = parse_adapter_name(tensor.name);
      const bool a = name.leaf == "lora_A.weight" || name.leaf == "lora_embedding_A";
      const bool b = name.leaf == "lora_B.weight" || name.leaf == "lora_embedding_B";
      if (name.piece != AdapterPiece::kFactor || !(a || b) || tensor.shape.size() < 2) continue;
      const std::uint64_t rank = tensor.shape[a ? 0 : 1];
      const auto expected = static_cast<std::uint64_t>(config.rank_of(name.module));
      // Factors of all experts of a parameter are one tensor.
      if (rank == expected || (rank > 0 && rank % expected == 0 && config.has_parameter_in(name.module)))
        continue;
      wrong.add(tensor);
      if (wrong.count == 1) std::tie(stored, stated) = std::pair(rank, expected);
    }
    if (wrong.count > 0)
      found("AD-RANK",
            fmt::format(
                "{} has rank {}, the config says {}{}: PEFT refuses the adapter", wrong.example(), stored,
                stated,
                wrong.count > 1 ? fmt::format(" (and {} more differ)", group_digits(wrong.count - 1)) : ""),
            "adapter_config.json");
  }

  void check_quantisation() {
    Tally scaled, unscaled;
    bool comfy = false, foreign = false, scales = false;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      const Tensor& tensor = tensors_[i];
      const QuantPart& part = parts_[i];
      comfy = comfy || part.family == QuantFamily::kComfy;
      scales = scales || part.role == QuantRole::kScale;
      foreign = foreign || tensor.dtype == Dtype::kForeign;
      const bool bare = part.role == QuantRole::kPlain && tensor.shape.size() > 1 &&
                        tensor.name.ends_with(".weight") &&
                        (is_float8(tensor.dtype) || tensor.dtype == Dtype::kI8);
      if (part.role == QuantRole::kWeight && part.has_partner) scaled.add(tensor);
      if (bare || (part.role == QuantRole::kWeight && !part.has_partner)) unscaled.add(tensor);
    }
    comfy = comfy || input_.weights.merged_metadata().contains("_quantization_metadata");
    const std::optional<QuantSettings>& settings = input_.quantization;
    // Transformers reads no file of older libraries.
    if (!settings || std::ranges::find(kOlderQuantFiles, settings->file) != kOlderQuantFiles.end()) {
      if (scaled.count > 0 && !comfy && input_.config)
        found(
            "MD-QUANT-CONFIG",
            fmt::format("has no quantization_config, but {} quantised, such as {}: loaders ignore the scales",
                        scaled.count == 1 ? "1 tensor is" : plural(scaled.count, "tensor") + " are",
                        scaled.example()),
            "config.json");
      return;
    }
    if (!settings->stores_scales || foreign || tensors_.empty()) return;
    if (!scales)
      found("MD-QUANT-SCALES",
            fmt::format("{} says that the weights are quantised ({}), but no tensor has a scale",
                        escape_name(settings->place), escape_name(settings->method)),
            settings->file);
    else if (unscaled.count > 0)
      found("MD-QUANT-SCALES",
            fmt::format("{} quantised without a scale, such as {}",
                        unscaled.count == 1 ? "1 tensor is" : plural(unscaled.count, "tensor") + " are",
                        unscaled.example()));
  }

  // The dtype in a config is that of the first parameter when it was saved, and each sub-config may have its
  // own (modeling_utils.py, save_pretrained), so one tensor that has one of them is enough.
  void check_dtype() {
    if (!input_.config || input_.quantization) return;
    const std::vector<std::string> stated = stated_dtypes(*input_.config);
    if (stated.empty()) return;
    Tally plain;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      const Tensor& tensor = tensors_[i];
      if (parts_[i].role != QuantRole::kPlain) return;
      if (!is_floating(tensor.dtype)) continue;
      if (std::find(stated.begin(), stated.end(), torch_name(tensor.dtype)) != stated.end()) return;
      plain.add(tensor);
    }
    if (plain.count > 0)
      found("MD-DTYPE",
            fmt::format("says {} but the tensors are {}", stated.front(), torch_name(plain.first->dtype)),
            "config.json");
  }

  const Input& input_;
  const std::vector<Tensor>& tensors_;
  Findings& findings_;
  std::vector<QuantPart> parts_;
};

}  // namespace

void check_tensors(const Input& input, Findings& findings) {
  TensorCheck(input, findings).run();
}

}  // namespace mu
