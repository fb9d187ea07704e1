// SPDX-License-Identifier: Apache-2.0
// What model/renaming makes of a model, for test_renaming.py. Reads lines of JSON, {"way": "save" or "load", "config":
// TEXT, "tensors": [[NAME, [SIZE, ...]], ...]}, and answers each with a line: a list of [NAME, [SIZE, ...], SUM], or a
// text, the fault. Element k of tensor n has the value n * 2^32 + k, and SUM is the sum of the values, the first once,
// the second twice, and so on, so that it tells the order.
#include <cstring>
#include <iostream>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "base/json_write.h"
#include "model/renaming.h"
#include "weights/gather.h"

namespace {

std::vector<mu::Tensor> tensors_of(const mu::JsonValue& list) {
  std::vector<mu::Tensor> tensors;
  for (const mu::JsonValue& item : list.items()) {
    mu::Tensor tensor{
        *item.items()[0].as_string(), mu::Dtype::kU64, {}, static_cast<std::uint32_t>(tensors.size()), 0, 0};
    for (const mu::JsonValue& size : item.items()[1].items()) tensor.shape.push_back(size.as_u64().value());
    tensor.size = 8 * tensor.element_count();
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

std::uint64_t sum_of(const mu::Tensor& tensor) {
  const auto read = [](std::uint32_t source, std::uint64_t offset, std::span<std::byte> out) {
    for (std::size_t i = 0; i < out.size(); i += 8) {
      const std::uint64_t value = (std::uint64_t{source} << 32U) + (offset + i) / 8;
      std::memcpy(out.data() + i, &value, 8);
    }
  };
  std::vector<std::uint64_t> values(tensor.element_count());
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(values));
  if (tensor.layout)
    mu::gather(tensor, 0, bytes, read);
  else
    read(tensor.source, tensor.offset, bytes);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) sum += values[i] * (i + 1);
  return sum;
}

std::string answer(const mu::JsonValue& request) {
  mu::ModelConfig config = mu::parse_model_config(*request.find_string("config"));
  const std::shared_ptr<const mu::TensorNames> names = mu::TensorNames::of(config);
  if (names == nullptr) return "\"no names\"";
  const std::vector<mu::Tensor> tensors = tensors_of(*request.find("tensors"));
  const mu::Renaming renaming = *request.find_string("way") == "save" ? to_published(tensors, *names, config)
                                                                      : to_memory(tensors, *names, config);
  std::string line;
  mu::JsonWriter json(line, 0);
  json.begin_array();
  for (const mu::Renaming::Item& item : renaming.items) {
    json.begin_array().value(item.tensor.name).numbers(item.tensor.shape);
    json.value(sum_of(item.tensor)).end_array();
  }
  json.end_array();
  return line;
}

std::string quoted(std::string_view text) {
  std::string line;
  mu::append_json_string(line, text);
  return line;
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    try {
      std::cout << answer(mu::parse_json(line).root) << std::endl;
    } catch (const mu::Error& error) {
      std::cout << quoted(error.message()) << std::endl;
    }
  }
}
