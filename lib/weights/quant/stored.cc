// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/stored.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "tensor/cast.h"
#include "weights/quant/strips.h"
#include "weights/views.h"

namespace mu {

const Tensor* StoredWeight::find(std::string_view ending) const {
  const auto found = std::find_if(companions.begin(), companions.end(), [&](const Tensor* tensor) {
    return tensor->name.size() == module.size() + ending.size() && tensor->name.starts_with(module) &&
           tensor->name.ends_with(ending);
  });
  return found == companions.end() ? nullptr : *found;
}

const Tensor& StoredWeight::require(std::string_view ending) const {
  const Tensor* const tensor = find(ending);
  if (tensor == nullptr)
    throw malformed(fmt::format("'{}' is quantised, but '{}' is missing", escape_name(weight->name),
                                escape_name(module + std::string(ending))));
  return *tensor;
}

Tensor plain_tensor(PlainWeight weight, Dtype target) {
  const auto element = static_cast<std::uint64_t>(bits(target) / 8);
  return computed(std::move(weight.name), target, std::move(weight.shape), std::move(weight.sources),
                  [values = std::move(weight.values), target, element](
                      const Sources& sources, std::uint64_t at, std::span<std::byte> out) {
                    thread_local std::vector<float> plain;
                    plain.resize(out.size() / element);
                    values(sources, at / element, plain);
                    CastReport report;
                    cast(Dtype::kF32, target, std::as_bytes(std::span(plain)), out, report);
                    if (sources.losses() != nullptr) sources.losses()->add(report);
                  });
}

Tensor turned(const Tensor& plain) {
  const Tensor view = transpose(plain, 0, 1);
  const std::uint64_t row = view.shape[1] * bits(view.dtype) / 8;
  auto strips = std::make_shared<Strips>(view.shape[0], std::vector<std::uint64_t>{row});
  return computed(
      view.name, view.dtype, view.shape, {view},
      [strips = std::move(strips), row](const Sources& sources, std::uint64_t at, std::span<std::byte> out) {
        while (!out.empty()) {
          const std::shared_ptr<const Strips::Strip> strip = strips->around(sources, at / row);
          const std::uint64_t from = at - strip->first * row;
          const std::size_t count = std::min<std::size_t>(out.size(), strip->count * row - from);
          std::memcpy(out.data(), strip->bytes[0].data() + from, count);
          out = out.subspan(count);
          at += count;
        }
      });
}

}  // namespace mu
