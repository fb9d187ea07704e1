// SPDX-License-Identifier: Apache-2.0
#include "weights/weights.h"

#include <utility>

#include "base/error.h"
#include "weights/gather.h"

namespace mu {

std::uint64_t Weights::total_bytes() const {
  std::uint64_t total = 0;
  for (const Tensor& tensor : tensors) total += tensor.size;
  return total;
}

Metadata Weights::merged_metadata() const {
  Metadata merged;
  for (const WeightsFile& file : files) {
    if (file.metadata) merged.insert(file.metadata->begin(), file.metadata->end());
  }
  if (index) {
    for (const JsonValue::Member& member : index->metadata.members()) {
      const std::string* text = member.value.as_string();
      if (text != nullptr) merged.emplace(member.key, *text);
    }
  }
  return merged;
}

void Weights::read(const Tensor& tensor, std::uint64_t at, std::span<std::byte> out,
                   CastReport* losses) const {
  const auto read_file = [this](std::uint32_t source, std::uint64_t offset, std::span<std::byte> bytes) {
    const WeightsFile& file = files[source];
    if (!file.file) throw malformed("the data of this stream were not kept").in_file(file.name);
    file.file->read_at(offset, bytes);
  };
  if (tensor.layout) return gather(tensor, at, out, read_file, losses);
  read_file(tensor.source, tensor.offset + at, out);
}

namespace {

// Adds `by` to the number of every file that the tensor lies in.
void move_sources(Tensor& tensor, std::uint32_t by) {
  tensor.source += by;
  if (!tensor.layout) return;
  Layout layout = *tensor.layout;
  for (Tensor& one : layout.tensors) move_sources(one, by);
  if (layout.tensors.empty()) {
    for (Box& box : layout.boxes) box.source += by;
  }
  tensor.layout = std::make_shared<Layout>(std::move(layout));
}

}  // namespace

void append_weights(Weights& weights, Weights more) {
  const auto first = static_cast<std::uint32_t>(weights.files.size());
  for (Tensor& tensor : more.tensors) move_sources(tensor, first);
  std::move(more.files.begin(), more.files.end(), std::back_inserter(weights.files));
  std::move(more.tensors.begin(), more.tensors.end(), std::back_inserter(weights.tensors));
  weights.findings.add_all(more.findings);
}

std::string read_safetensors_header(const WeightsFile& file) {
  if (!file.file) return file.stream_header;
  std::string json(static_cast<std::size_t>(file.data_begin - 8), '\0');
  file.file->read_at(8, std::as_writable_bytes(std::span(json)));
  return json;
}

TensorsByName tensors_by_name(const Weights& weights) {
  TensorsByName names;
  names.reserve(weights.tensors.size());
  for (const Tensor& tensor : weights.tensors) names.emplace(tensor.name, &tensor);
  return names;
}

}  // namespace mu
