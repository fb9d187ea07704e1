// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/awq.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/text.h"
#include "tensor/format.h"
#include "weights/quant/in_out.h"
#include "weights/quant/settings.h"

namespace mu {
namespace {

// Where the eight outputs of a word are, in values of four bits from the lowest.
constexpr std::array<unsigned, 8> kPlaces = {0, 4, 1, 5, 2, 6, 3, 7};

void require_gemm(const JsonValue& settings) {
  const std::string* version = nullptr;
  for (const std::string_view key : {"version", "format", "checkpoint_format"}) {
    if (version == nullptr) version = settings.find_string(key);
  }
  if (const std::string* const backend = settings.find_string("backend");
      backend != nullptr && *backend == "llm-awq")
    version = backend;
  if (version != nullptr && lower_ascii(*version) != "gemm")
    throw refused(fmt::format("AWQ weights of the version {} can't be made plain", escape_name(*version)));
  const std::uint64_t bits =
      find_size(settings, settings.find("w_bit") != nullptr ? "w_bit" : "bits").value_or(4);
  if (bits != 4) throw refused(fmt::format("AWQ weights of {} bits can't be made plain", bits));
}

}  // namespace

PlainOf plain_awq(const QuantContext& context) {
  require_gemm(context.settings);
  InOutWeight weight{.bits = 4, .group_size = 128, .along_outputs = true};
  for (const std::string_view key : {"group_size", "q_group_size"}) {  // the latter in AutoAWQ's own file
    if (context.settings.find(key) != nullptr)
      weight.group_size = find_size(context.settings, key).value_or(0);
  }
  std::copy(kPlaces.begin(), kPlaces.end(), weight.places.begin());
  const JsonValue* const has_zeros = context.settings.find("zero_point");
  const bool symmetric = has_zeros != nullptr && has_zeros->as_bool() == false;
  return [context, weight, symmetric](const StoredWeight& stored) {
    InOutWeight one = weight;
    one.name = stored.module + ".weight";
    one.codes = stored.weight;
    one.scales = &stored.require(".scales");
    require_direction(one);
    const std::vector<std::uint64_t>& shape = stored.weight->shape;
    if (weight.group_size != 0 && shape.size() == 2 && shape[0] % weight.group_size != 0)
      throw malformed(fmt::format("'{}' is {}, and its rows are not whole groups of {}",
                                  escape_name(stored.weight->name), shape_text(shape), weight.group_size));
    // Where they are stored, kernels read them, whatever the config says.
    one.zeros = symmetric ? stored.find(".qzeros") : &stored.require(".qzeros");
    return plain_in_out(one, context);
  };
}

}  // namespace mu
