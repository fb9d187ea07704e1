// SPDX-License-Identifier: Apache-2.0
#include "pack/refusals.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "model/placeholders.h"
#include "os/interrupt.h"
#include "weights/layout.h"

namespace mu {
namespace {

// Refuses formats and types that can be read but not written.
void require_packable(const std::vector<PackedTensor>& tensors, const Input& input) {
  for (const PackedTensor& tensor : tensors) {
    check_interrupt();
    const WeightsFile& file = input.weights.files[tensor.input->source];
    if (!file.read_only.empty()) throw malformed(std::string(file.read_only)).in_file(escape_name(file.name));
    if (tensor.input->dtype != Dtype::kForeign) continue;
    // "DTensor" is a class, "complex128" an element type.
    const char first = type_text(*tensor.input).empty() ? 'x' : type_text(*tensor.input).front();
    const bool is_class = (first >= 'A' && first <= 'Z') || type_text(*tensor.input) == "subclass";
    throw malformed(fmt::format("tensor '{}' has type {}, which safetensors can't hold",
                                escape_name(tensor.input->name), escape_name(type_text(*tensor.input))))
        .in_file(escape_name(file.name))
        .hint(is_class ? "save full tensors, or a distributed checkpoint"
                       : "save it in a type that safetensors has; --exclude leaves out what no loader needs");
  }
}

// What ranks pickled of a LoRA run is of no use without lora_alpha, and no tensor shows it.
void require_alpha(const std::vector<PackedTensor>& tensors, const Input& input) {
  if (!input.weights.from_ranks || !input.weights.from_ranks->lacks_alpha) return;
  const auto lora = std::count_if(tensors.begin(), tensors.end(), [](const PackedTensor& tensor) {
    return tensor.input->name.find(".lora_") != std::string::npos;
  });
  if (lora == 0) return;
  throw malformed(
      fmt::format("{} of a LoRA adapter among the weights, and no adapter_config.json beside the ranks' "
                  "files says lora_alpha",
                  plural(static_cast<std::uint64_t>(lora), "tensor")))
      .in_file(escape_name(input.name))
      .hint("lora-extract --alpha N takes the adapter out");
}

// ZeRO stage 3 leaves names without values where weights should be.
void require_values(const std::vector<PackedTensor>& tensors, const Input& input) {
  Placeholders placeholders;
  for (const PackedTensor& tensor : tensors) placeholders.add(*tensor.input);
  require_no_placeholders(placeholders, input.name);
}

}  // namespace

void require_writable_tensors(const std::vector<PackedTensor>& tensors, const Input& input) {
  require_values(tensors, input);
  require_packable(tensors, input);
  require_alpha(tensors, input);
}

void require_found(const Input& input, const Prepared& prepared, const Selection& selection) {
  if (!input.weights.from_ranks) return;
  std::vector<std::string> names;
  for (const std::string& name : input.weights.from_ranks->lost) {
    if (is_selected(selection, name, prepared.listed)) names.push_back(escape_name(name));
  }
  if (names.empty()) return;
  constexpr std::size_t kShown = 3;
  const std::size_t count = names.size();
  names.resize(std::min(count, kShown));
  throw malformed(fmt::format("the values of {} are in no file: {}{} [ZR-LOST]", plural(count, "parameter"),
                              join(names, ", "), count > kShown ? ", …" : ""))
      .in_file(escape_name(input.name))
      .hint(
          "frozen weights were not saved (DeepSpeed before 0.9.1, or exclude_frozen_parameters): --base "
          "MODEL adds them");
}

}  // namespace mu
