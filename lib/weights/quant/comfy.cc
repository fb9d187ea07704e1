// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/comfy.h"

#include <fmt/format.h>

#include <map>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "weights/quant/floats.h"
#include "weights/quant/scaled.h"

namespace mu {
namespace {

constexpr std::string_view kMetadataKey = "_quantization_metadata";
constexpr std::uint64_t kLargestText = 65536;  // bytes of JSON about one layer

using Formats = std::map<std::string, std::string, std::less<>>;  // by module: "float8_e4m3fn"

const std::string& format_in(const JsonValue& layer, std::string_view module) {
  const std::string* const format = layer.find_string("format");
  if (format == nullptr)
    throw malformed(fmt::format("what is said of '{}' has no format", escape_name(module)));
  return *format;
}

Formats formats_of(const Weights& weights) {
  Formats formats;
  for (const WeightsFile& file : weights.files) {
    if (!file.metadata) continue;
    const auto text = file.metadata->find(std::string(kMetadataKey));
    if (text == file.metadata->end()) continue;
    try {
      const JsonValue root = parse_json(text->second).root;
      const JsonValue* const layers = root.find("layers");
      if (layers == nullptr) continue;
      for (const JsonValue::Member& layer : layers->members())
        formats.emplace(layer.key, format_in(layer.value, layer.key));
    } catch (Error& error) {
      throw error.at(fmt::format("metadata key '{}'", kMetadataKey)).in_file(file.name);
    }
  }
  return formats;
}

// The text in a tensor beside the weight, as newer files have it.
std::string format_in_tensor(const StoredWeight& stored, const Tensor& tensor, const QuantContext& context) {
  require_type(tensor, {Dtype::kU8});
  if (tensor.size > kLargestText) throw malformed(fmt::format("'{}' is too long", escape_name(tensor.name)));
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.size));
  context.weights.read(tensor, 0, bytes);
  try {
    return format_in(parse_json(as_text(bytes), {.depth = 32, .values = 10000}).root, stored.module);
  } catch (Error& error) {
    throw error.at(fmt::format("tensor '{}'", escape_name(tensor.name)));
  }
}

// The files say how a layer is stored, or its type does.
void require_format(const StoredWeight& stored, const QuantContext& context, const Formats& formats) {
  std::string format;
  if (const Tensor* const text = stored.find(".comfy_quant"))
    format = format_in_tensor(stored, *text, context);
  else if (const auto found = formats.find(stored.module); found != formats.end())
    format = found->second;
  const Tensor& weight = *stored.weight;
  if (!format.empty() && format != "float8_e4m3fn" && format != "float8_e5m2")
    throw refused(fmt::format("'{}' is stored as {} of ComfyUI, which can't be made plain here",
                              escape_name(weight.name), escape_name(format)));
  require_type(weight, {Dtype::kF8E4M3, Dtype::kF8E5M2});
  if (!format.empty() && (format == "float8_e5m2") != (weight.dtype == Dtype::kF8E5M2))
    throw malformed(fmt::format("'{}' is {}, but is said to be {}", escape_name(weight.name),
                                name(weight.dtype), format));
}

const Tensor* scale_of(const StoredWeight& stored) {
  const Tensor* const older = stored.find(".scale_weight");
  const Tensor* const newer = stored.find(".weight_scale");
  if (older != nullptr && newer != nullptr)
    throw malformed(fmt::format("'{}' has two scales: '{}' and '{}'", escape_name(stored.weight->name),
                                escape_name(older->name), escape_name(newer->name)));
  return older != nullptr ? older : newer;
}

PlainWeight plain(const StoredWeight& stored, const QuantContext& context, const Formats& formats) {
  require_format(stored, context, formats);
  const Tensor& weight = *stored.weight;
  const Tensor* const scale = scale_of(stored);
  if (scale == nullptr)
    return {weight.name,
            weight.shape,
            {weight},
            [](const Sources& sources, std::uint64_t first, std::span<float> out) {
              read_floats(sources, 0, first, out);
            }};
  require_type(*scale, {Dtype::kF32, Dtype::kBF16, Dtype::kF16});
  if (element_count(scale->shape) != 1) throw misfit(*scale, weight, weight.shape, "with one scale");
  return plain_scaled({.name = weight.name,
                       .shape = weight.shape,
                       .coding = weight.dtype,
                       .values = weight,
                       .scales = *scale,
                       .grid = single_scale(weight.shape),
                       .scale_rounding = context.target});
}

}  // namespace

PlainOf plain_comfy(const QuantContext& context) {
  return [context, formats = std::make_shared<const Formats>(formats_of(context.weights))](
             const StoredWeight& stored) { return plain(stored, context, *formats); };
}

}  // namespace mu
