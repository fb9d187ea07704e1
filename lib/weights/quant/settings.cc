// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/settings.h"

#include <fmt/format.h>

#include "base/error.h"

namespace mu {

std::optional<std::uint64_t> find_size(const JsonValue& settings, std::string_view key) {
  const JsonValue* const value = settings.find(key);
  if (value == nullptr || value->kind() == JsonValue::Kind::kNull || value->number_text() == "-1")
    return std::nullopt;
  const std::optional<std::uint64_t> size = value->as_u64();
  if (!size || *size == 0)
    throw malformed(fmt::format("the config's {} is not a whole number of 1 or more", key));
  return size;
}

}  // namespace mu
