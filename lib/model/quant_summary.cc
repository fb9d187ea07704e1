// SPDX-License-Identifier: Apache-2.0
// How many values a stored weight has follows from its type and from the shapes beside it, the same way for all methods:
// its bits, divided by those of one value. Settings are asked where shapes leave it open. The packed weights of
// compressed-tensors may end inside a word; what their shape tensor says is read once for each packed shape.
#include "model/quant_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"
#include "model/plain_config.h"
#include "os/far.h"

namespace mu {
namespace {

using Shape = std::vector<std::uint64_t>;

// Endings of stored weights that are `.weight` when plain.
constexpr std::array<std::string_view, 3> kStoredEndings = {".weight_packed", ".qweight", "._weight_qdata"};

std::string plain_name(const Tensor& weight) {
  const std::string& name = weight.name;
  for (const std::string_view ending : kStoredEndings) {
    if (name.ends_with(ending)) return name.substr(0, name.size() - ending.size()) + ".weight";
  }
  constexpr std::string_view kBlocks = "_blocks";
  return name.ends_with(kBlocks) ? name.substr(0, name.size() - kBlocks.size()) : name;
}

std::optional<std::uint64_t> product(std::uint64_t a, std::uint64_t b) {
  return checked_mul(a, b);
}

class Summing {
 public:
  explicit Summing(const Input& input)
      : input_(input), tensors_(input.weights.tensors), parts_(quant_parts(tensors_)) {}

  std::optional<QuantSummary> run() {
    group();
    if (sum_.modules.empty()) return std::nullopt;
    sum_.target = stated_plain_dtype(input_);
    sum_.method = input_.quantization && !input_.quantization->method.empty()
                      ? input_.quantization->method
                      : std::string(method_by_marks(input_, parts_));
    for (QuantModule& module : sum_.modules) measure(module);
    sum_.format = format();
    add_up();
    return std::move(sum_);
  }

 private:
  [[nodiscard]] const JsonValue& settings() const {
    static const JsonValue kNone;
    return input_.quantization ? input_.quantization->json : kNone;
  }

  void group() {
    std::unordered_map<std::string_view, std::size_t> modules;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      if (parts_[i].role != QuantRole::kWeight) continue;
      modules.emplace(parts_[i].module, sum_.modules.size());
      sum_.modules.push_back({.weight = i, .name = plain_name(tensors_[i]), .bytes = tensors_[i].size});
    }
    if (modules.empty()) return;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      if (parts_[i].role != QuantRole::kScale && parts_[i].role != QuantRole::kMarker) continue;
      const auto found = modules.find(parts_[i].module);
      if (found == modules.end()) continue;
      sum_.modules[found->second].companions.push_back(i);
      sum_.modules[found->second].bytes += tensors_[i].size;
    }
  }

  // The companion whose name ends so, or null.
  [[nodiscard]] const Tensor* find(const QuantModule& module, std::string_view ending) const {
    const auto found = std::find_if(module.companions.begin(), module.companions.end(),
                                    [&](std::size_t i) { return tensors_[i].name.ends_with(ending); });
    return found == module.companions.end() ? nullptr : &tensors_[*found];
  }

  void measure(QuantModule& module) {
    const Tensor& weight = tensors_[module.weight];
    std::optional<Shape> shape = plain_shape(module, weight);
    if (!shape) return;
    const std::optional<std::uint64_t> values = element_count(*shape);
    if (!values) return;
    module.values = *values;
    module.shape = std::move(*shape);
  }

  [[nodiscard]] std::optional<Shape> plain_shape(const QuantModule& module, const Tensor& weight) {
    switch (parts_[module.weight].family) {
      case QuantFamily::kBitsandbytes:
        return find(module, ".SCB") != nullptr ? std::optional(weight.shape) : flat(product(weight.size, 2));
      case QuantFamily::kPacked:
        return is_word(weight.dtype) ? packed_shape(module, weight) : last_times(weight.shape, 2);
      case QuantFamily::kGptq:
        return gptq_shape(module, weight);
      case QuantFamily::kBlocks:
        return blocks_shape(weight);
      default:
        break;
    }
    if (is_float8(weight.dtype)) return weight.shape;
    if (weight.dtype == Dtype::kF4) return weight.shape;
    if (weight.dtype == Dtype::kI8) return last_times(weight.shape, is_pairs(module) ? 2 : 1);
    const bool has_pairs = sum_.method == "modelopt" || sum_.method == "torchao" ||
                           sum_.method == "compressed-tensors" || sum_.method == "comfy";
    if (weight.dtype == Dtype::kU8 && has_pairs) return last_times(weight.shape, 2);
    if (is_word(weight.dtype) && sum_.method == "mlx") return in_words(weight.shape, mlx_bits(module));
    return std::nullopt;
  }

  static bool is_word(Dtype dtype) { return dtype == Dtype::kI32 || dtype == Dtype::kU32; }

  static std::optional<Shape> flat(std::optional<std::uint64_t> values) {
    return values ? std::optional(Shape{*values}) : std::nullopt;
  }

  static std::optional<Shape> last_times(Shape shape, std::uint64_t times) {
    const std::optional<std::uint64_t> last = shape.empty() ? std::nullopt : product(shape.back(), times);
    if (!last) return std::nullopt;
    shape.back() = *last;
    return shape;
  }

  // Rows that are streams of `bits` bits in words of 32.
  static std::optional<Shape> in_words(Shape shape, std::uint64_t bits) {
    std::optional<Shape> widened = bits == 0 || bits > 32 ? std::nullopt : last_times(std::move(shape), 32);
    if (widened) widened->back() /= bits;
    return widened;
  }

  // E2M1 pairs of the experts of DeepSeek-V4: the scales are bare exponents, one for 32 values.
  [[nodiscard]] bool is_pairs(const QuantModule& module) const {
    return sum_.method == "fp8" &&
           std::any_of(module.companions.begin(), module.companions.end(), [&](std::size_t i) {
             return tensors_[i].dtype == Dtype::kF8E8M0 || tensors_[i].dtype == Dtype::kU8;
           });
  }

  // [E, R, G, 16] pairs are the transposed experts [E, 32 G, R].
  static std::optional<Shape> blocks_shape(const Tensor& weight) {
    const Shape& s = weight.shape;
    const std::optional<std::uint64_t> columns = s.size() == 4 ? product(s[2], s[3]) : std::nullopt;
    const std::optional<std::uint64_t> values = columns ? product(*columns, 2) : std::nullopt;
    if (!values) return std::nullopt;
    return Shape{s[0], *values, s[1]};
  }

  // GPTQ packs along the input, AWQ along the output.
  [[nodiscard]] std::optional<Shape> gptq_shape(const QuantModule& module, const Tensor& weight) const {
    const Tensor* const scales = find(module, ".scales");
    if (weight.shape.size() != 2 || scales == nullptr || scales->shape.size() != 2) return std::nullopt;
    const std::uint64_t out = scales->shape[1];
    if (weight.shape[1] != out) return Shape{out, weight.shape[0]};
    const Tensor* const order = find(module, ".g_idx");
    const Tensor* const zeros = find(module, ".qzeros");
    if (order != nullptr && order->shape.size() == 1) return Shape{out, order->shape[0]};
    std::uint64_t bits = settings().find_u64("bits").value_or(0);
    if (zeros != nullptr && zeros->shape.size() == 2 && out > 0 && zeros->shape[1] <= out)
      bits = zeros->shape[1] * 32 / out;
    const std::optional<Shape> in = in_words({weight.shape[0]}, bits);
    return in ? std::optional(Shape{out, in->back()}) : std::nullopt;
  }

  // compressed-tensors, in words. Their shape is a tensor beside them.
  [[nodiscard]] std::optional<Shape> packed_shape(const QuantModule& module, const Tensor& weight) {
    if (weight.shape.size() != 2) return std::nullopt;
    const auto known = packed_.find(weight.shape);
    if (known != packed_.end()) return known->second;
    std::optional<Shape> shape = stated_shape(module, weight);
    if (!shape) shape = in_words(weight.shape, group_bits());
    packed_.emplace(weight.shape, shape);
    return shape;
  }

  [[nodiscard]] std::optional<Shape> stated_shape(const QuantModule& module, const Tensor& weight) const {
    constexpr std::size_t kMostRead = 256;  // shapes: a model has a handful
    const Tensor* const stated = find(module, ".weight_shape");
    const bool is_small =
        stated != nullptr && (stated->size == 16 || stated->size == 8) && stated->shape == Shape{2};
    if (!is_small || packed_.size() >= kMostRead || is_far_name(input_.name)) return std::nullopt;
    std::array<std::byte, 16> bytes{};
    try {
      input_.weights.read(*stated, 0, std::span(bytes).first(static_cast<std::size_t>(stated->size)));
    } catch (const Error&) {  // a stream whose data were not kept
      return std::nullopt;
    }
    Shape shape(2, 0);
    const std::size_t each = static_cast<std::size_t>(stated->size / 2);
    for (std::size_t i = 0; i < 2; ++i) std::memcpy(&shape[i], &bytes[i * each], each);
    const std::uint64_t words = weight.shape[1];
    const std::optional<std::uint64_t> most = product(words, 32);
    const bool fits =
        shape[0] == weight.shape[0] && most && shape[1] <= *most && shape[1] > 0 && shape[1] >= words;
    return fits ? std::optional(shape) : std::nullopt;
  }

  // Of the config's groups, if they agree.
  [[nodiscard]] std::uint64_t group_bits() const {
    std::set<std::uint64_t> bits;
    const JsonValue* const groups = settings().find("config_groups");
    if (groups == nullptr) return 0;
    for (const JsonValue::Member& group : groups->members()) {
      const JsonValue* const weights = group.value.find("weights");
      if (weights != nullptr) bits.insert(weights->find_u64("num_bits").value_or(0));
    }
    return bits.size() == 1 ? *bits.begin() : 0;
  }

  // Modules may have settings of their own.
  [[nodiscard]] std::uint64_t mlx_bits(const QuantModule& module) const {
    const std::string& path = parts_[module.weight].module;
    const JsonValue* const own = settings().find(path);
    const std::uint64_t bits = own != nullptr ? own->find_u64("bits").value_or(0) : 0;
    return bits != 0 ? bits : settings().find_u64("bits").value_or(0);
  }

  [[nodiscard]] std::string format() const {
    const QuantModule& first = sum_.modules.front();
    if (sum_.method == "compressed-tensors") return group_formats();
    if (sum_.method == "fp8") return fp8_format();
    if (sum_.method == "bitsandbytes") return bitsandbytes_format();
    if (sum_.method == "torchao") return torchao_format();
    if (sum_.method == "comfy") return std::string(torch_name(tensors_[first.weight].dtype));
    if (sum_.method == "modelopt") {
      const std::string* const algorithm = settings().find_string("quant_algo");
      return algorithm == nullptr ? "" : *algorithm;
    }
    const std::optional<std::uint64_t> bits = settings().find_u64("bits");
    return bits ? fmt::format("{} bit", *bits) : "";
  }

  [[nodiscard]] std::string group_formats() const {
    std::vector<std::string> formats;
    if (const JsonValue* const groups = settings().find("config_groups")) {
      for (const JsonValue::Member& group : groups->members()) {
        const std::string* const own = group.value.find_string("format");
        if (own != nullptr && std::find(formats.begin(), formats.end(), *own) == formats.end())
          formats.push_back(*own);
      }
    }
    const std::string* const all = settings().find_string("format");
    if (!formats.empty()) return join(formats, ", ");
    return all == nullptr ? "" : *all;
  }

  [[nodiscard]] std::string fp8_format() const {
    const JsonValue* const block = settings().find("weight_block_size");
    if (block != nullptr && block->items().size() == 2)
      return fmt::format("block {}x{}", block->items()[0].as_u64().value_or(0),
                         block->items()[1].as_u64().value_or(0));
    for (const QuantModule& module : sum_.modules) {
      const Tensor* const scales = find(module, "_scale_inv");
      if (scales == nullptr) continue;
      if (element_count(scales->shape) == 1) return "tensor";
      if (scales->shape.size() > 1 && scales->shape.back() == 1) return "channel";
      return block == nullptr ? "block 128x128" : "block";
    }
    return "";
  }

  [[nodiscard]] std::string bitsandbytes_format() const {
    std::set<std::string> types;
    for (const QuantModule& module : sum_.modules) {
      for (const char* const type : {"nf4", "fp4"}) {
        if (find(module, fmt::format("__{}", type)) != nullptr) types.insert(type);
      }
      if (find(module, ".SCB") != nullptr) types.insert("int8");
    }
    return join({types.begin(), types.end()}, ", ");
  }

  [[nodiscard]] std::string torchao_format() const {
    const Metadata metadata = input_.weights.merged_metadata();
    const auto found = metadata.find(sum_.modules.front().name);
    if (found != metadata.end()) {
      try {
        const JsonDocument document = parse_json(found->second, {.depth = 32, .values = 10000});
        if (const std::string* const type = document.root.find_string("_type")) return *type;
      } catch (const Error&) {  // torn: making it plain says so
      }
    }
    return "";
  }

  void add_up() {
    std::vector<bool> in_module(tensors_.size(), false);
    std::optional<std::uint64_t> values = 0;
    for (const QuantModule& module : sum_.modules) {
      in_module[module.weight] = true;
      for (const std::size_t i : module.companions) in_module[i] = true;
      values = values && module.values > 0 ? checked_add(*values, module.values) : std::nullopt;
    }
    sum_.matrices = sum_.modules.size();
    std::uint64_t bytes = 0, elements = 0;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      if (in_module[i] || parts_[i].role != QuantRole::kPlain) continue;
      bytes += tensors_[i].size;
      elements += tensors_[i].element_count();
      if (tensors_[i].shape.size() > 1 && is_floating(tensors_[i].dtype)) ++sum_.matrices;
    }
    const std::optional<std::uint64_t> made = values ? product(*values, bits(sum_.target) / 8) : std::nullopt;
    if (!made || *made == 0) return;
    sum_.plain_parameters = elements + *values;
    sum_.plain_bytes = bytes + *made;
  }

  const Input& input_;
  const std::vector<Tensor>& tensors_;
  const std::vector<QuantPart> parts_;
  std::map<Shape, std::optional<Shape>> packed_;  // plain shapes by packed ones
  QuantSummary sum_;
};

}  // namespace

std::string_view method_by_marks(const Input& input, const std::vector<QuantPart>& parts) {
  const std::vector<Tensor>& tensors = input.weights.tensors;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    switch (parts[i].family) {
      case QuantFamily::kBitsandbytes:
        return "bitsandbytes";
      case QuantFamily::kTorchao:
        return "torchao";
      case QuantFamily::kBlocks:
        return "mxfp4";
      case QuantFamily::kComfy:
        return "comfy";
      default:
        break;
    }
    if (tensors[i].name.ends_with("weight_scale_inv")) return "fp8";
  }
  return input.weights.merged_metadata().contains("_quantization_metadata") ? "comfy" : "";
}

bool has_data(const Weights& weights) {
  return std::all_of(weights.files.begin(), weights.files.end(),
                     [](const WeightsFile& file) { return file.file.has_value(); });
}

double QuantModule::bits() const {
  return values == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(values);
}

std::optional<double> QuantSummary::effective_bits() const {
  double stored = 0, values = 0;
  for (const QuantModule& module : modules) {
    if (module.values == 0) return std::nullopt;
    stored += 8.0 * static_cast<double>(module.bytes);
    values += static_cast<double>(module.values);
  }
  return values == 0 ? std::nullopt : std::optional(stored / values);
}

std::optional<QuantSummary> sum_up_quantised(const Input& input) {
  return Summing(input).run();
}

}  // namespace mu
