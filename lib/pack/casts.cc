// SPDX-License-Identifier: Apache-2.0
#include "pack/casts.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "model/quantised.h"

namespace mu {
namespace {

Error refusal(const Input& input, const std::string& message) {
  return refused(message)
      .in_file(escape_name(input.name))
      .hint("--dequantize makes quantised weights plain; --dtype 'GLOB=TYPE' casts other tensors");
}

std::string ruin_text(const Tensor& tensor, QuantRole role, const std::string& cast) {
  const bool weight = role == QuantRole::kWeight;
  return fmt::format("'{}' {}: {} would ruin {}", escape_name(tensor.name),
                     weight ? "is a quantised weight" : "belongs to quantised weights", cast,
                     weight ? "it" : "them");
}

bool is_small_float(Dtype dtype) {
  return is_floating(dtype) && bits(dtype) <= 8;
}

}  // namespace

void refuse_casts_of_quantised(const Input& input, const Selection& selection,
                               const std::vector<PackedTensor>& packed) {
  if (!selection.dtype && selection.dtype_of.empty()) return;
  if (selection.dtype && input.quantization)
    throw refusal(input, fmt::format("{} has a {}: --dtype would ruin the quantised weights",
                                     input.quantization->file, escape_name(input.quantization->place)));
  const std::vector<Tensor>& tensors = input.weights.tensors;
  const std::vector<QuantPart> parts = quant_parts(tensors);
  for (const PackedTensor& tensor : packed) {
    if (tensor.output.dtype == tensor.input->dtype) continue;
    const bool unscaled = input.quantization && is_small_float(tensor.input->dtype);
    for (const Tensor* source : tensor.sources()) {
      const auto place = static_cast<std::size_t>(source - tensors.data());
      if (parts[place].role == QuantRole::kPlain && !unscaled) continue;
      const QuantRole role = parts[place].role == QuantRole::kPlain ? QuantRole::kWeight : parts[place].role;
      throw refusal(input,
                    ruin_text(*source, role, fmt::format("a cast to {}", short_name(tensor.output.dtype))));
    }
  }
  if (!selection.dtype) return;
  const auto found = std::find_if(parts.begin(), parts.end(),
                                  [](const QuantPart& part) { return part.role != QuantRole::kPlain; });
  if (found == parts.end()) return;
  const auto place = static_cast<std::size_t>(found - parts.begin());
  throw refusal(input, ruin_text(tensors[place], found->role, "--dtype"));
}

}  // namespace mu
