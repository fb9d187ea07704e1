// SPDX-License-Identifier: Apache-2.0
#include "inspect/slice.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/error.h"
#include "base/json_write.h"
#include "base/text.h"
#include "cli/console.h"
#include "os/interrupt.h"
#include "tensor/decode.h"
#include "tensor/format.h"
#include "weights/layout.h"

namespace mu {
namespace {

struct Range {
  std::uint64_t begin, end;
  bool dropped;  // a single index
};

Error wrong_slice(std::string_view part, std::string_view why) {
  return usage(fmt::format("'{}' is not a slice: {}", escape_name(part), why));
}

// "3", "-1", "" -> a position from 0 to `size`.
std::int64_t parse_position(std::string_view text, std::int64_t fallback, std::int64_t size) {
  if (text.empty()) return fallback;
  std::int64_t value = 0;
  const std::from_chars_result parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
    throw wrong_slice(text, "it needs a whole number");
  return value < 0 ? value + size : value;
}

Range parse_range(std::string_view part, std::uint64_t dimension) {
  const auto size = static_cast<std::int64_t>(std::min<std::uint64_t>(dimension, INT64_MAX));
  const std::size_t colon = part.find(':');
  if (colon == std::string_view::npos) {
    const std::int64_t index = parse_position(part, size, size);
    if (index < 0 || index >= size)
      throw wrong_slice(part, fmt::format("the size of the dimension is {}", size));
    return {static_cast<std::uint64_t>(index), static_cast<std::uint64_t>(index) + 1, true};
  }
  if (part.find(':', colon + 1) != std::string_view::npos) throw wrong_slice(part, "steps are not supported");
  // Like slices in Python: the range is clamped to the dimension.
  const std::int64_t begin =
      std::clamp<std::int64_t>(parse_position(part.substr(0, colon), 0, size), 0, size);
  const std::int64_t end =
      std::clamp<std::int64_t>(parse_position(part.substr(colon + 1), size, size), begin, size);
  return {static_cast<std::uint64_t>(begin), static_cast<std::uint64_t>(end), false};
}

const Tensor* find_tensor(const Weights& weights, std::string_view name) {
  const auto found = std::find_if(weights.tensors.begin(), weights.tensors.end(),
                                  [name](const Tensor& t) { return t.name == name; });
  return found == weights.tensors.end() ? nullptr : &*found;
}

struct Slice {
  const Tensor* tensor;
  std::vector<Range> ranges;  // one for each dimension
};

Slice parse_slice(const Weights& weights, std::string_view expression) {
  // A name may contain brackets: the whole expression is tried as a name first.
  const Tensor* tensor = find_tensor(weights, expression);
  std::string_view list;
  const std::size_t open = expression.rfind('[');
  if (tensor == nullptr && expression.ends_with(']') && open != std::string_view::npos) {
    tensor = find_tensor(weights, expression.substr(0, open));
    list = expression.substr(open + 1, expression.size() - open - 2);
  }
  if (tensor == nullptr) throw malformed(fmt::format("there is no tensor '{}'", escape_name(expression)));
  Slice slice{tensor, {}};
  const std::vector<std::string_view> parts =
      list.empty() ? std::vector<std::string_view>() : split(list, ',');
  if (parts.size() > tensor->shape.size()) {
    throw wrong_slice(list, fmt::format("the tensor has {}", plural(tensor->shape.size(), "dimension")));
  }
  for (std::size_t i = 0; i < tensor->shape.size(); ++i) {
    slice.ranges.push_back(i < parts.size() ? parse_range(trim(parts[i]), tensor->shape[i])
                                            : Range{0, tensor->shape[i], false});
  }
  return slice;
}

// Prints the rows of a slice, nested as its dimensions are.
class RowPrinter {
 public:
  RowPrinter(const Weights& weights, const Slice& slice, bool json)
      : weights_(weights), slice_(slice), json_(json) {}

  void print() { walk(0, 0); }

 private:
  [[nodiscard]] std::uint64_t stride(std::size_t dimension) const {
    std::uint64_t elements = 1;
    for (std::size_t i = dimension + 1; i < slice_.tensor->shape.size(); ++i)
      elements *= slice_.tensor->shape[i];
    return elements;
  }

  void walk(std::size_t dimension, std::uint64_t element) {
    const std::vector<Range>& ranges = slice_.ranges;
    if (ranges.empty()) return row(element, 1, true);
    const Range& range = ranges[dimension];
    if (dimension + 1 == ranges.size())
      return row(element + range.begin, range.end - range.begin, range.dropped);
    if (json_ && !range.dropped) out("[");
    for (std::uint64_t i = range.begin; i < range.end; ++i) {
      if (i > range.begin) {
        if (json_) out(",");
        // An empty line between matrices.
        if (!json_ && dimension + 2 < ranges.size()) out("\n");
      }
      walk(dimension + 1, element + i * stride(dimension));
    }
    if (json_ && !range.dropped) out("]");
  }

  void row(std::uint64_t first, std::uint64_t count, bool single) {
    const Tensor& tensor = *slice_.tensor;
    if (json_ && !single) out("[");
    constexpr std::uint64_t kPiece = 8192;  // elements read at a time: at most 64 KiB
    for (std::uint64_t done = 0; done < count; done += kPiece) {
      check_interrupt();
      const std::uint64_t size = std::min(kPiece, count - done);
      const std::uint64_t first_bit = (first + done) * bits(tensor.dtype);
      const std::uint64_t last_bit = (first + done + size) * bits(tensor.dtype);
      std::vector<std::byte> data(static_cast<std::size_t>((last_bit + 7) / 8 - first_bit / 8));
      weights_.read(tensor, first_bit / 8, data);
      const std::uint64_t skipped = first_bit % 8 / bits(tensor.dtype);
      for (std::uint64_t i = 0; i < size; ++i) {
        if (done + i > 0) out(json_ ? "," : " ");
        put(format_element(tensor.dtype, data, static_cast<std::size_t>(skipped + i)));
      }
    }
    if (json_ && !single) out("]");
    if (!json_) out("\n");
  }

  void put(const std::string& value) {
    const bool is_json =
        value == "true" || value == "false" || value.find_first_not_of("0123456789+-.e") == std::string::npos;
    out(json_ && !is_json ? "\"" + value + "\"" : value);
  }

  const Weights& weights_;
  const Slice& slice_;
  bool json_;
};

}  // namespace

void print_slice(const Weights& weights, std::string_view expression, bool json) {
  const Slice slice = parse_slice(weights, expression);
  if (!can_decode(slice.tensor->dtype))
    throw malformed(fmt::format("values of type {} can't be read", escape_name(type_text(*slice.tensor))));
  if (json) {
    std::string head = "{\"schema\":\"modelutils.st-inspect.values/1\",\"name\":";
    append_json_string(head, slice.tensor->name);
    head += fmt::format(",\"dtype\":\"{}\",\"shape\":[", name(slice.tensor->dtype));
    bool first = true;
    for (const Range& range : slice.ranges) {
      if (range.dropped) continue;
      head += (first ? "" : ",") + std::to_string(range.end - range.begin);
      first = false;
    }
    out(head + "],\"values\":");
  }
  RowPrinter(weights, slice, json).print();
  if (json) out("}\n");
}

}  // namespace mu
