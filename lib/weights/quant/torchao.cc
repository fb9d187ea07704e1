// SPDX-License-Identifier: Apache-2.0
// The sums and products are those of two library functions: for fp8, value and scale are multiplied in float; for
// integers, value less zero point is rounded to the type of the plain tensor, D, and multiplied in D or wider. Then
// it is rounded to D. Differences of two 8-bit integers fit every D.
#include "weights/quant/torchao.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "weights/quant/scaled.h"

namespace mu {
namespace {

// "x._weight_qdata" is the value of parameter "x.weight".
std::string parameter_of(const Tensor& weight) {
  const std::string& name = weight.name;
  const std::size_t dot = name.rfind("._");
  constexpr std::string_view kEnd = "_qdata";
  if (dot == std::string::npos || !name.ends_with(kEnd) || dot + 2 + kEnd.size() >= name.size())
    throw malformed(fmt::format("'{}' is not called as torchao calls values", escape_name(name)));
  return name.substr(0, dot + 1) + name.substr(dot + 2, name.size() - kEnd.size() - dot - 2);
}

const std::string* find_text(const Weights& weights, const Tensor& weight, const std::string& key) {
  const auto in_file = [&key](const WeightsFile& file) -> const std::string* {
    if (!file.metadata) return nullptr;
    const auto found = file.metadata->find(key);
    return found == file.metadata->end() ? nullptr : &found->second;
  };
  if (weight.source < weights.files.size()) {
    if (const std::string* const text = in_file(weights.files[weight.source])) return text;
  }
  for (const WeightsFile& file : weights.files) {
    if (const std::string* const text = in_file(file)) return text;
  }
  return nullptr;
}

// What the metadata say of one parameter.
struct Description {
  std::string type;                  // "Float8Tensor"
  Dtype dtype;                       // of the tensor that it stands for
  Shape block;                       // elements that share a scale, by dimension; empty: not said
  std::vector<std::string> tensors;  // that it is made of: "qdata", "scale"
};

Description read_description(const std::string& text, const std::string& parameter) {
  const JsonValue root = parse_json(text, {.depth = 32, .values = 10000}).root;
  const std::string* const type = root.find_string("_type");
  if (type == nullptr)
    throw malformed(fmt::format("the metadata of '{}' have no _type", escape_name(parameter)));
  if (*type != "Float8Tensor" && *type != "Int8Tensor" && *type != "IntxUnpackedToInt8Tensor")
    throw refused(fmt::format("'{}' is stored by torchao as {}, which can't be made plain here",
                              escape_name(parameter), escape_name(*type)));
  const JsonValue* const data = root.find("_data");
  const JsonValue* const dtype = data == nullptr ? nullptr : data->find("dtype");
  const std::string* const dtype_name = dtype == nullptr ? nullptr : dtype->find_string("_data");
  Description description{*type, Dtype::kF32, {}, texts_of(root.find("_tensor_data_names"))};
  if (dtype_name != nullptr) description.dtype = parse_user_dtype(*dtype_name).value_or(Dtype::kBool);
  if (dtype_name == nullptr || (description.dtype != Dtype::kF32 && description.dtype != Dtype::kBF16 &&
                                description.dtype != Dtype::kF16))
    throw malformed(fmt::format("the metadata of '{}' have no dtype bfloat16, float16 or float32",
                                escape_name(parameter)));
  const JsonValue* const block = data->find("block_size");
  if (block == nullptr) return description;
  for (const JsonValue& size : block->items()) description.block.push_back(size.as_u64().value_or(0));
  return description;
}

Description describe(const StoredWeight& stored, const QuantContext& context, const std::string& parameter) {
  const std::string* const text = find_text(context.weights, *stored.weight, parameter);
  if (text == nullptr)
    throw malformed(fmt::format("'{}' is stored by torchao, but the metadata don't say what '{}' is",
                                escape_name(stored.weight->name), escape_name(parameter)));
  try {
    return read_description(*text, parameter);
  } catch (Error& error) {
    throw error.at(fmt::format("metadata key '{}'", escape_name(parameter)));
  }
}

// Integers: blocks are said, and the scales are as many, in whatever shape.
std::optional<ScaleGrid> said_grid(const Shape& weight, const Shape& block, const Tensor& scales) {
  if (block.size() != weight.size()) return std::nullopt;
  Shape grid;
  for (std::size_t i = 0; i < block.size(); ++i) {
    if (block[i] == 0 || weight[i] % block[i] != 0) return std::nullopt;
    grid.push_back(weight[i] / block[i]);
  }
  if (element_count(grid) != scales.element_count()) return std::nullopt;
  return element_count(grid) == 1 ? single_scale(weight) : divided_by(weight, grid);
}

// fp8: the scales divide the weight.
std::optional<ScaleGrid> grid_of(const Shape& weight, const Tensor& scales) {
  return element_count(scales.shape) == 1 ? single_scale(weight) : divided_by(weight, scales.shape);
}

}  // namespace

PlainWeight plain_torchao(const StoredWeight& stored, const QuantContext& context) {
  const Tensor& weight = *stored.weight;
  const std::string parameter = parameter_of(weight);
  const Description description = describe(stored, context, parameter);
  const bool is_float = description.type == "Float8Tensor";
  const std::string prefix = weight.name.substr(std::min(stored.module.size(), weight.name.size()),
                                                weight.name.size() - std::string_view("qdata").size() -
                                                    std::min(stored.module.size(), weight.name.size()));
  for (const std::string& one : description.tensors) {
    if (one != "qdata") static_cast<void>(stored.require(prefix + one));
  }
  const Tensor& scales = stored.require(prefix + "scale");
  require_type(scales, {Dtype::kF32, Dtype::kBF16, Dtype::kF16});
  if (is_float)
    require_type(weight, {Dtype::kF8E4M3, Dtype::kF8E5M2});
  else
    require_type(weight, {Dtype::kI8});
  const std::optional<ScaleGrid> grid =
      is_float ? grid_of(weight.shape, scales) : said_grid(weight.shape, description.block, scales);
  if (!grid) throw misfit(scales, weight, weight.shape);
  ScaledWeight scaled{.name = parameter,
                      .shape = weight.shape,
                      .coding = weight.dtype,
                      .values = weight,
                      .scales = scales,
                      .grid = *grid,
                      .rounding = description.dtype};
  const Tensor* const zeros = is_float ? nullptr : stored.find(prefix + "zero_point");
  if (zeros != nullptr) {
    require_type(*zeros, {Dtype::kI8});
    if (zeros->element_count() != scales.element_count()) throw misfit(*zeros, scales, scales.shape);
    scaled.zero_points = *zeros;
  }
  return plain_scaled(std::move(scaled));
}

}  // namespace mu
