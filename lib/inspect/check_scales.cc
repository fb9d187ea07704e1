// SPDX-License-Identifier: Apache-2.0
// What fits is for the methods that make weights plain to say (model/dequantise.h): planning reads what they read. A
// scale of zero does no harm to a weight that is all zero.
#include "inspect/check_scales.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "inspect/measure.h"
#include "model/dequantise.h"
#include "model/module_path.h"
#include "model/quantised.h"

namespace mu {
namespace {

constexpr std::string_view kRule = "MD-QUANT-SCALES";

// Tensors with values of one kind that no scale should have.
struct Faulty {
  std::string_view what;  // "zero"
  std::uint64_t tensors = 0, values = 0;
  const Tensor* first = nullptr;

  void add(const Tensor& tensor, std::uint64_t count) {
    if (count == 0) return;
    if (tensors++ > 0) return;
    first = &tensor;
    values = count;
  }
};

class ScaleCheck {
 public:
  ScaleCheck(const Input& input, unsigned threads, Progress& progress)
      : input_(input), threads_(threads), progress_(progress), parts_(quant_parts(input.weights.tensors)) {}

  [[nodiscard]] bool any() const {
    return std::any_of(parts_.begin(), parts_.end(),
                       [](const QuantPart& part) { return part.role == QuantRole::kWeight; });
  }

  void check_shapes() {
    try {
      plan_plain(input_, std::nullopt);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kRefused) return;  // sound, as far as is known here
      if (error.kind() != ErrorKind::kMalformed) throw;
      findings_.add(
          {kRule, Level::kHub, false, error.message(), error.file().empty() ? input_.name : error.file()});
    }
  }

  void check_values() {
    const std::vector<const Tensor*> scales = scales_to_read();
    Faulty zero{"zero"}, nan{"NaN"}, infinite{"infinity"};
    measure_stats(input_.weights, scales, threads_, progress_,
                  [&](const Tensor& tensor, const TensorStats& stats) {
                    // Bare exponents: byte 255 is NaN.
                    const bool is_exponent = tensor.dtype == Dtype::kU8;
                    nan.add(tensor, is_exponent ? std::uint64_t{stats.max == 255} : stats.nan);
                    infinite.add(tensor, stats.positive_infinity + stats.negative_infinity);
                    if (!is_exponent && may_not_be_zero(tensor) && stats.zero > 0 && !is_of_zeros(tensor))
                      zero.add(tensor, stats.zero);
                  });
    for (const Faulty& faulty : {zero, nan, infinite}) report(faulty);
  }

  Findings take() { return std::move(findings_); }

 private:
  [[nodiscard]] const QuantPart& part_of(const Tensor& tensor) const {
    return parts_[static_cast<std::size_t>(&tensor - input_.weights.tensors.data())];
  }

  // Whether it is called a scale, and not something beside one.
  static bool is_called_scale(const Tensor& tensor) {
    const std::string_view leaf = last_component(tensor.name);
    return leaf.find("scale") != std::string_view::npos && leaf.find("zero") == std::string_view::npos;
  }

  // bitsandbytes writes 0 for blocks and rows that are all zero.
  [[nodiscard]] bool may_not_be_zero(const Tensor& tensor) const {
    return is_called_scale(tensor) && part_of(tensor).family != QuantFamily::kBitsandbytes;
  }

  [[nodiscard]] std::vector<const Tensor*> scales_to_read() const {
    std::vector<const Tensor*> scales;
    for (const Tensor& tensor : input_.weights.tensors) {
      if (part_of(tensor).role != QuantRole::kScale) continue;
      const bool is_exponent = tensor.dtype == Dtype::kU8 && is_called_scale(tensor);
      if (is_floating(tensor.dtype) || is_exponent) scales.push_back(&tensor);
    }
    return scales;
  }

  // Whether the weight of a scale is stored as nothing but zeros.
  [[nodiscard]] bool is_of_zeros(const Tensor& scale) {
    const std::string& module = part_of(scale).module;
    if (const auto known = of_zeros_.find(module); known != of_zeros_.end()) return known->second;
    if (weights_.empty()) {
      for (const Tensor& one : input_.weights.tensors) {
        if (part_of(one).role == QuantRole::kWeight) weights_.emplace(part_of(one).module, &one);
      }
    }
    const auto weight = weights_.find(module);
    return of_zeros_[module] = weight != weights_.end() && holds_zeros(*weight->second);
  }

  [[nodiscard]] bool holds_zeros(const Tensor& tensor) const {
    constexpr std::uint64_t kPiece = 1U << 18;  // bytes
    std::vector<std::byte> buffer;
    for (std::uint64_t done = 0; done < tensor.size; done += kPiece) {
      buffer.resize(static_cast<std::size_t>(std::min(kPiece, tensor.size - done)));
      input_.weights.read(tensor, done, buffer);
      if (std::any_of(buffer.begin(), buffer.end(), [](std::byte b) { return b != std::byte{0}; }))
        return false;
    }
    return true;
  }

  void report(const Faulty& faulty) {
    if (faulty.tensors == 0) return;
    const Tensor& first = *faulty.first;
    const bool is_counted = first.dtype != Dtype::kU8;
    const std::string count = is_counted ? fmt::format(" ({} of {})", group_digits(faulty.values),
                                                       plural(first.element_count(), "value"))
                                         : "";
    findings_.add(
        {kRule, Level::kHub, false,
         fmt::format("{} of quantised weights {} {}, such as '{}'{}", plural(faulty.tensors, "scale"),
                     faulty.tensors == 1 ? "holds" : "hold", faulty.what, escape_name(first.name), count),
         input_.weights.files[first.source].name, first.offset});
  }

  const Input& input_;
  unsigned threads_;
  Progress& progress_;
  const std::vector<QuantPart> parts_;
  std::unordered_map<std::string, const Tensor*> weights_;  // by module
  std::unordered_map<std::string, bool> of_zeros_;          // likewise
  Findings findings_;
};

}  // namespace

Findings check_scales(const Input& input, const Findings& known, bool values, unsigned threads,
                      Progress& progress) {
  ScaleCheck check(input, threads, progress);
  if (!check.any()) return {};
  if (known.count(kRule) == 0) check.check_shapes();
  if (values) check.check_values();
  return check.take();
}

}  // namespace mu
