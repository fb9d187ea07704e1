// SPDX-License-Identifier: Apache-2.0
#include "tensor/format.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "base/bytes.h"
#include "tensor/cast.h"
#include "tensor/decode.h"

namespace mu {
namespace {

std::string format_float(double value, bool is_double) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return is_double ? fmt::format("{}", value) : fmt::format("{}", static_cast<float>(value));
}

// Formats narrower than float: the fewest digits that round back to the same code.
std::string format_narrow(Dtype dtype, std::span<const std::byte> code) {
  float value = 0;
  decode(dtype, code, std::span(&value, 1));
  if (!std::isfinite(value)) return format_float(static_cast<double>(value), false);
  const std::string exact = format_float(static_cast<double>(value), false);
  for (int digits = 1; digits < 9; ++digits) {
    const std::string text = fmt::format("{:.{}g}", value, digits);
    if (text.size() >= exact.size()) break;  // "448" rather than "4.5e+02"
    float read = 0;
    std::from_chars(text.data(), text.data() + text.size(), read);
    std::array<std::byte, 4> bytes{};
    std::array<std::byte, 2> back{};
    store_le(bytes.data(), read);
    CastReport unused;
    cast(Dtype::kF32, dtype, bytes, std::span(back).first(code.size()), unused);
    if (std::equal(code.begin(), code.end(), back.begin())) return text;
  }
  return exact;
}

template <typename T>
T element(std::span<const std::byte> data, std::size_t index) {
  return load_le<T>(data.subspan(index * sizeof(T), sizeof(T)).data());
}

}  // namespace

std::string format_element(Dtype dtype, std::span<const std::byte> data, std::size_t index) {
  switch (dtype) {
    case Dtype::kBool:
      return element<std::uint8_t>(data, index) != 0 ? "true" : "false";
    case Dtype::kI64:
      return fmt::format("{}", element<std::int64_t>(data, index));
    case Dtype::kU64:
      return fmt::format("{}", element<std::uint64_t>(data, index));
    case Dtype::kF64:
      return format_float(element<double>(data, index), true);
    case Dtype::kC64: {
      const std::string imaginary =
          format_float(static_cast<double>(element<float>(data, 2 * index + 1)), false);
      return format_float(static_cast<double>(element<float>(data, 2 * index)), false) +
             (imaginary.starts_with('-') ? "" : "+") + imaginary + "i";
    }
    case Dtype::kF4: {
      std::array<float, 2> pair{};
      decode(dtype, data.subspan(index / 2, 1), std::span<float>(pair));
      return format_float(static_cast<double>(pair[index % 2]), false);
    }
    default:
      break;
  }
  const std::size_t size = bits(dtype) / 8;
  if (is_floating(dtype) && size < 4 && can_cast(Dtype::kF32, dtype))
    return format_narrow(dtype, data.subspan(index * size, size));
  double value = 0;
  decode(dtype, data.subspan(index * size, size), std::span(&value, 1));
  return format_float(value, is_integer(dtype));
}

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i)
    fmt::format_to(std::back_inserter(text), "{}{}", i > 0 ? ", " : "", shape[i]);
  return text + "]";
}

}  // namespace mu
