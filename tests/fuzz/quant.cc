// SPDX-License-Identifier: Apache-2.0
// A quantised model: its config.json, a NUL, the header of its safetensors file, a NUL, and the bytes of its tensors
// from the first on; those that are missing are made up. It is made plain, and values of each tensor are read.
#include "model/dequantise.h"

#include <cstring>
#include <string>

#include "base/error.h"
#include "fuzz_file.h"
#include "weights/open/any.h"
#include "weights/safetensors.h"

namespace mu {
namespace {

constexpr std::size_t kLargest = 1U << 18, kTensors = 16, kValues = 3000;

// The file, if it is not large.
std::string file_of(std::string_view header, std::string_view data) {
  Findings findings;
  const std::uint64_t needed = parse_safetensors_header(header, "input", findings).data_bytes;
  if (needed > kLargest) return {};
  const std::uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  file += header;
  file += data;
  const std::size_t size = 8 + header.size() + static_cast<std::size_t>(needed);
  for (std::size_t i = file.size(); i < size; ++i) file += static_cast<char>(i * 37 >> 2);
  file.resize(size);
  return file;
}

// The last values of each tensor, and a stretch from an odd place.
void read_all(const Weights& weights) {
  for (std::size_t i = 0; i < std::min(kTensors, weights.tensors.size()); ++i) {
    const Tensor& tensor = weights.tensors[i];
    std::vector<std::byte> buffer(
        static_cast<std::size_t>(std::min<std::uint64_t>(kValues * 4, tensor.size)));
    const std::uint64_t left = tensor.size - buffer.size();
    weights.read(tensor, left, buffer);
    weights.read(tensor, std::min<std::uint64_t>(left, tensor.size / 24 * 4), buffer);
  }
}

}  // namespace
}  // namespace mu

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = mu::fuzzing::as_view(data, size);
  const std::size_t header = text.find('\0');
  if (header == std::string_view::npos) return 0;
  const std::size_t values = std::min(text.find('\0', header + 1), size);
  const std::string_view bytes = text.substr(std::min(values + 1, size));
  for (const mu::Dtype target : {mu::Dtype::kBF16, mu::Dtype::kF32}) {
    try {
      const std::string file = mu::file_of(text.substr(header + 1, values - header - 1), bytes);
      mu::Input input;
      input.name = "input";
      mu::add_any(input.weights,
                  mu::fuzzing::as_file(reinterpret_cast<const std::uint8_t*>(file.data()), file.size()), {});
      if (header != 0) {
        input.config = mu::parse_model_config(std::string(text.substr(0, header)));
        input.quantization = mu::quant_settings(input.config->root);
      }
      mu::require_sound(input);
      mu::PlainModel plan = mu::plan_plain(input, target);
      const mu::PlainChange change = mu::make_plain(input, std::move(plan));
      if (input.config) (void)mu::with_config_edits(input.config->text, change.config);
      mu::read_all(input.weights);
    } catch (const mu::Error&) {
    }
  }
  return 0;
}
