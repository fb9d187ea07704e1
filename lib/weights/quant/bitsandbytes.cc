// SPDX-License-Identifier: Apache-2.0
// The values of a weight lie flat, whatever its shape: high nibble first, a scale for each block of them. A nibble is
// an index into quant_map. Nested scales are indexes of a byte into nested_quant_map, times the scale of their block,
// plus nested_offset.
#include "weights/quant/bitsandbytes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"
#include "tensor/format.h"
#include "weights/quant/bnb_int8.h"
#include "weights/quant/floats.h"
#include "weights/quant/nibbles.h"

namespace mu {
namespace {

// The numbers of PlainWeight::sources.
enum Source : std::uint8_t { kPacked, kAbsmax, kQuantMap, kNestedAbsmax, kNestedQuantMap };

struct Nested {
  std::uint64_t block = 0;
  Dtype dtype = Dtype::kF32;
  float offset = 0;
};

struct QuantState {
  std::uint64_t block = 0;
  Dtype dtype = Dtype::kF32;  // of the values
  std::vector<std::uint64_t> shape;
  std::uint64_t count = 0;  // elements of that shape
  std::optional<Nested> nested;
};

// The JSON of a quant_state, field by field.
class StateReader {
 public:
  StateReader(const Tensor& tensor, const JsonValue& json) : tensor_(tensor), json_(json) {
    if (!json.is_object()) fail("is not a JSON object");
  }

  [[noreturn]] void fail(std::string_view why) const {
    throw malformed(fmt::format("the quant_state '{}' {}", escape_name(tensor_.name), why));
  }

  // A power of two between 32 and 4096, as the library has them.
  [[nodiscard]] std::uint64_t block(std::string_view key) const {
    const std::uint64_t size = json_.find_u64(key).value_or(0);
    if (!std::has_single_bit(size) || size < 32 || size > 4096)
      fail(fmt::format("has no {} that is a power of two between 32 and 4096", key));
    return size;
  }

  [[nodiscard]] Dtype dtype(std::string_view key) const {
    const std::string* const text = json_.find_string(key);
    for (const Dtype dtype : {Dtype::kBF16, Dtype::kF16, Dtype::kF32}) {
      if (text != nullptr && *text == torch_name(dtype)) return dtype;
    }
    fail(fmt::format("has no {} that is bfloat16, float16 or float32", key));
  }

  [[nodiscard]] std::vector<std::uint64_t> shape() const {
    constexpr std::size_t kMost = 8;  // dimensions
    const JsonValue* const value = json_.find("shape");
    if (value == nullptr || !value->is_array() || value->items().empty() || value->items().size() > kMost)
      fail("has no shape that is a list of a few numbers");
    std::vector<std::uint64_t> shape;
    for (const JsonValue& item : value->items()) {
      const std::optional<std::uint64_t> size = item.as_u64();
      if (!size) fail("has a shape with something else than whole numbers");
      shape.push_back(*size);
    }
    return shape;
  }

  [[nodiscard]] float offset() const {
    const JsonValue* const value = json_.find("nested_offset");
    const auto offset = static_cast<float>(value == nullptr ? NAN : value->as_double().value_or(NAN));
    if (!std::isfinite(offset)) fail("has no nested_offset that is a number");
    return offset;
  }

  void require_type(std::string_view type) const {
    const std::string* const text = json_.find_string("quant_type");
    if (text == nullptr || *text != type) fail(fmt::format("has no quant_type that is {}", type));
  }

 private:
  const Tensor& tensor_;
  const JsonValue& json_;
};

// The tensors of one weight; their names begin with that of the weight.
class Parts {
 public:
  explicit Parts(const StoredWeight& stored)
      : stored_(stored),
        leaf_(stored.weight->name.substr(std::min(stored.module.size(), stored.weight->name.size()))) {}

  [[nodiscard]] const Tensor* find(std::string_view ending) const {
    return stored_.find(leaf_ + std::string(ending));
  }

  // A tensor that must be there, of one of these types and with so many elements.
  [[nodiscard]] const Tensor& require(std::string_view ending, std::initializer_list<Dtype> dtypes,
                                      std::uint64_t count) const {
    const Tensor& tensor = stored_.require(leaf_ + std::string(ending));
    if (std::find(dtypes.begin(), dtypes.end(), tensor.dtype) == dtypes.end())
      throw malformed(fmt::format("'{}' is {}", escape_name(tensor.name), type_name(tensor)));
    if (tensor.element_count() != count)
      throw malformed(fmt::format("'{}' {} has not the {} elements that '{}' needs", escape_name(tensor.name),
                                  shape_text(tensor.shape), count, escape_name(stored_.weight->name)));
    return tensor;
  }

 private:
  const StoredWeight& stored_;
  std::string leaf_;  // of the weight: ".weight"
};

QuantState read_state(const Tensor& tensor, std::string_view type, bool nested, const Weights& weights) {
  constexpr std::uint64_t kMost = 1U << 16;  // bytes; the library writes less than two hundred
  if (tensor.dtype != Dtype::kU8 || tensor.size > kMost)
    throw malformed(fmt::format("the quant_state '{}' is not JSON in a few bytes", escape_name(tensor.name)));
  std::string text(static_cast<std::size_t>(tensor.size), '\0');
  weights.read(tensor, 0, std::as_writable_bytes(std::span(text)));
  JsonDocument document;
  try {
    document = parse_json(text, {.depth = 8, .values = 256});
  } catch (const Error& error) {
    throw malformed(fmt::format("the quant_state '{}': {}", escape_name(tensor.name), error.what()));
  }
  const StateReader reader(tensor, document.root);
  reader.require_type(type);
  QuantState state{reader.block("blocksize"), reader.dtype("dtype"), reader.shape(), 0, {}};
  const std::optional<std::uint64_t> count = element_count(state.shape);
  if (!count || *count == UINT64_MAX) reader.fail("has a shape that is too large");
  state.count = *count;
  if (nested)
    state.nested = Nested{reader.block("nested_blocksize"), reader.dtype("nested_dtype"), reader.offset()};
  return state;
}

std::uint64_t blocks_of(std::uint64_t count, std::uint64_t block) {
  return count / block + (count % block == 0 ? 0 : 1);
}

// The scales of blocks [first, first + out.size()).
void read_scales(const Sources& sources, const std::optional<Nested>& nested, std::uint64_t first,
                 std::span<float> out) {
  if (!nested) return read_floats(sources, kAbsmax, first, out);
  thread_local std::vector<float> outer;
  const std::uint64_t outer_first = first / nested->block;
  outer.resize(static_cast<std::size_t>(blocks_of(first + out.size(), nested->block) - outer_first));
  read_floats(sources, kNestedAbsmax, outer_first, outer);
  std::array<float, 256> map{};
  read_floats(sources, kNestedQuantMap, 0, map);
  const std::span<const std::byte> codes = read_bytes(sources, kAbsmax, first, out.size());
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = map[std::to_integer<std::size_t>(codes[i])] *
             outer[static_cast<std::size_t>((first + i) / nested->block - outer_first)];
  round_floats(nested->dtype, out);
  for (float& scale : out) scale += nested->offset;
  round_floats(nested->dtype, out);
}

PlainValues values_of(const QuantState& state, Dtype target) {
  return [block = state.block, nested = state.nested,
          rounding = state.dtype == target ? Dtype::kF32 : state.dtype](
             const Sources& sources, std::uint64_t first, std::span<float> out) {
    thread_local std::vector<float> scales;
    scales.resize(static_cast<std::size_t>(blocks_of(first + out.size(), block) - first / block));
    read_scales(sources, nested, first / block, scales);
    std::array<float, 16> map{};
    read_floats(sources, kQuantMap, 0, map);
    read_nibbles(sources, kPacked, NibbleTable(map, NibbleOrder::kHighFirst), first, scales, block, out);
    round_floats(rounding, out);
  };
}

PlainWeight plain_4bit(const StoredWeight& stored, const Parts& parts, const Tensor& state_tensor,
                       std::string_view type, const QuantContext& context) {
  const Tensor& packed = *stored.weight;
  const bool nested = parts.find(".nested_absmax") != nullptr || parts.find(".nested_quant_map") != nullptr;
  QuantState state = read_state(state_tensor, type, nested, context.weights);
  // Bytes in elements of any type (bnb_4bit_quant_storage): the last one may be filled up.
  const std::uint64_t bytes = state.count / 2 + state.count % 2;
  if (bits(packed.dtype) % 8 != 0 || packed.size < bytes || packed.size - bytes >= bits(packed.dtype) / 8)
    throw malformed(fmt::format("'{}' has {} bytes, and {} values of 4 bits are {}", escape_name(packed.name),
                                packed.size, shape_text(state.shape), bytes));
  const std::uint64_t blocks = blocks_of(state.count, state.block);
  std::vector<Tensor> sources{packed};
  if (nested) {
    sources.push_back(parts.require(".absmax", {Dtype::kU8}, blocks));
  } else {
    sources.push_back(parts.require(".absmax", {Dtype::kF32, Dtype::kF16, Dtype::kBF16}, blocks));
  }
  sources.push_back(parts.require(".quant_map", {Dtype::kF32}, 16));
  if (nested) {
    sources.push_back(parts.require(".nested_absmax", {Dtype::kF32}, blocks_of(blocks, state.nested->block)));
    sources.push_back(parts.require(".nested_quant_map", {Dtype::kF32}, 256));
  }
  PlainValues values = values_of(state, context.target);
  return {packed.name, std::move(state.shape), std::move(sources), std::move(values)};
}

// Transformers loads all weights as the config says.
void require_bits(const StoredWeight& stored, const JsonValue& settings, bool eight) {
  const bool says_four = settings.find_true("load_in_4bit") || settings.find_true("_load_in_4bit");
  const bool says_eight = settings.find_true("load_in_8bit") || settings.find_true("_load_in_8bit");
  if (says_four != says_eight && says_eight != eight)
    throw refused(fmt::format("the config says load_in_{}bit, but '{}' is stored in {} bits",
                              says_eight ? 8 : 4, escape_name(stored.weight->name), eight ? 8 : 4));
}

}  // namespace

PlainWeight plain_bitsandbytes(const StoredWeight& stored, const QuantContext& context) {
  const Parts parts(stored);
  const Tensor* const nf4 = parts.find(".quant_state.bitsandbytes__nf4");
  const Tensor* const fp4 = parts.find(".quant_state.bitsandbytes__fp4");
  const bool eight = stored.find(".SCB") != nullptr;
  if ((nf4 != nullptr) + (fp4 != nullptr) + eight > 1)
    throw malformed(fmt::format("'{}' is stored in two ways at once: nf4, fp4 or int8",
                                escape_name(stored.weight->name)));
  if (nf4 != nullptr || fp4 != nullptr || eight) require_bits(stored, context.settings, eight);
  if (nf4 != nullptr) return plain_4bit(stored, parts, *nf4, "nf4", context);
  if (fp4 != nullptr) return plain_4bit(stored, parts, *fp4, "fp4", context);
  if (eight || stored.weight->dtype == Dtype::kI8) return plain_bnb_int8(stored, context);
  throw malformed(
      fmt::format("'{}' is quantised, but its quant_state is missing", escape_name(stored.weight->name)));
}

}  // namespace mu
