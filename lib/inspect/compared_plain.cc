// SPDX-License-Identifier: Apache-2.0
#include "inspect/compared_plain.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "model/dequantise.h"
#include "model/plain_config.h"
#include "model/quant_summary.h"

namespace mu {
namespace {

// The floating type that most bytes of a plain model have.
std::optional<Dtype> main_type(const Input& input) {
  constexpr std::array<Dtype, 3> kTypes = {Dtype::kBF16, Dtype::kF16, Dtype::kF32};
  std::array<std::uint64_t, kTypes.size()> bytes{};
  for (const Tensor& tensor : input.weights.tensors) {
    for (std::size_t i = 0; i < kTypes.size(); ++i) bytes[i] += tensor.dtype == kTypes[i] ? tensor.size : 0;
  }
  const auto most = std::max_element(bytes.begin(), bytes.end());
  if (*most == 0) return std::nullopt;
  return kTypes[static_cast<std::size_t>(most - bytes.begin())];
}

std::optional<Dtype> make_side_plain(Input& side, std::string_view name, std::optional<Dtype> target,
                                     PlainSides& sides) {
  try {
    const PlainFacts facts = make_plain(side, plan_plain(side, target)).facts;
    sides.notes.push_back(fmt::format("{} is quantised ({}): compared as dequantised to {}", name,
                                      scheme_text(facts), short_name(facts.dtype)));
    return facts.dtype;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kRefused && error.kind() != ErrorKind::kMalformed) throw;
    sides.warnings.push_back(fmt::format("{} is compared as it is stored: {}", name, error.message()));
    return std::nullopt;
  }
}

}  // namespace

PlainSides make_sides_plain(Input& a, Input& b) {
  const std::optional<QuantSummary> in_a = sum_up_quantised(a), in_b = sum_up_quantised(b);
  PlainSides sides;
  if (!in_a && !in_b) return sides;
  const bool alike = in_a && in_b && in_a->method == in_b->method && in_a->format == in_b->format;
  // A file alone, without the config that says how it is stored, is only like what is stored the same way.
  const bool unknown = in_a && in_b && (in_a->method.empty() || in_b->method.empty());
  if (alike || unknown) return sides;
  const std::optional<Dtype> target =
      in_a && in_b ? std::optional(stated_plain_dtype(a)) : main_type(in_a ? b : a);
  if (in_a) sides.a = make_side_plain(a, "A", target, sides);
  if (in_b) sides.b = make_side_plain(b, "B", target, sides);
  return sides;
}

}  // namespace mu
