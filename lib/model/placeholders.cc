// SPDX-License-Identifier: Apache-2.0
#include "model/placeholders.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace mu {

void Placeholders::add(const Tensor& tensor) {
  ++tensors_;
  if (tensor.shape.size() != 1 || tensor.shape.front() != 0) return;
  ++empty_;
  empty_weight_ = empty_weight_ || tensor.name.ends_with(".weight");
}

std::string Placeholders::text() const {
  return fmt::format("{} of {} {} shape [0]", group_digits(empty_), plural(tensors_, "tensor"),
                     empty_ == 1 ? "has" : "have");
}

void require_no_placeholders(const Placeholders& placeholders, const std::string& input) {
  if (!placeholders.found()) return;
  throw malformed(placeholders.text() +
                  ": placeholders of ZeRO stage 3, whose values lie in the partitions of the ranks")
      .in_file(escape_name(input))
      .hint("name the checkpoint folder that holds them (global_step…)");
}

}  // namespace mu
