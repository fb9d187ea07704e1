// SPDX-License-Identifier: Apache-2.0
// Writes headers, byte for byte as the reference does, except that metadata keys are sorted: the reference
// leaves them in the order of a randomly seeded hash map, so its files differ from run to run.
#include <algorithm>
#include <numeric>

#include "base/bytes.h"
#include "base/error.h"
#include "base/json_write.h"
#include "os/interrupt.h"
#include "weights/safetensors.h"

namespace mu {
namespace {

void append_tensor(std::string& json, const TensorSpec& tensor, std::uint64_t begin) {
  append_json_string(json, tensor.name);
  json += ":{\"dtype\":\"";
  json += name(tensor.dtype);
  json += "\",\"shape\":[";
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    if (i > 0) json += ',';
    json += std::to_string(tensor.shape[i]);
  }
  json += "],\"data_offsets\":[" + std::to_string(begin) + ',' + std::to_string(begin + tensor.size) + "]}";
}

}  // namespace

std::vector<std::size_t> safetensors_order(const std::vector<TensorSpec>& tensors) {
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&tensors](std::size_t a, std::size_t b) {
    if (tensors[a].dtype != tensors[b].dtype) return tensors[a].dtype > tensors[b].dtype;
    return tensors[a].name < tensors[b].name;
  });
  return order;
}

std::string safetensors_prefix(const std::vector<TensorSpec>& tensors, const std::vector<std::size_t>& order,
                               const std::optional<Metadata>& metadata) {
  std::string out(8, '\0');
  out += '{';
  if (metadata) {
    out += "\"__metadata__\":{";
    for (const auto& [key, value] : *metadata) {
      if (out.back() != '{') out += ',';
      append_json_string(out, key);
      out += ':';
      append_json_string(out, value);
    }
    out += '}';
  }
  std::uint64_t begin = 0;
  for (const std::size_t i : order) {
    check_interrupt();
    if (out.back() != '{') out += ',';
    append_tensor(out, tensors[i], begin);
    begin += tensors[i].size;
  }
  out += '}';
  out.append((8 - out.size() % 8) % 8, ' ');
  const std::uint64_t size = out.size() - 8;
  if (size > kMaxSafetensorsHeader) {
    throw refused("the header would have " + std::to_string(size) + " bytes, more than the " +
                  std::to_string(kMaxSafetensorsHeader) + " that readers allow")
        .hint("write shards with --max-shard-size");
  }
  store_le(reinterpret_cast<std::byte*>(out.data()), size);
  return out;
}

}  // namespace mu
