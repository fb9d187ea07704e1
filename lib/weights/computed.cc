// SPDX-License-Identifier: Apache-2.0
#include "weights/computed.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "tensor/format.h"
#include "weights/layout.h"

namespace mu {

Tensor computed(std::string name, Dtype dtype, std::vector<std::uint64_t> shape, std::vector<Tensor> sources,
                Compute compute) {
  const ByteSize size = tensor_bytes(dtype, shape);
  if (size.status != ByteSizeStatus::kOk)
    throw malformed(fmt::format("'{}' can't have the shape {}", escape_name(name), shape_text(shape)));
  auto layout = std::make_shared<Layout>();
  layout->compute = std::move(compute);
  layout->tensors = std::move(sources);
  const Tensor* const first = layout->tensors.empty() ? nullptr : layout->tensors.data();
  return {.name = std::move(name),
          .dtype = dtype,
          .shape = std::move(shape),
          .source = first == nullptr ? 0 : first->source,
          .offset = first == nullptr ? 0 : first->offset,
          .size = size.bytes,
          .layout = std::move(layout)};
}

}  // namespace mu
