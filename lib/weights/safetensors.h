// SPDX-License-Identifier: Apache-2.0
// The safetensors header: judged as the reference reader judges it, written byte for byte as the reference
// writer writes it (huggingface/safetensors, safetensors/src/tensor.rs).
//
//   bytes 0..8     N, unsigned 64-bit little-endian: size of the header
//   bytes 8..8+N   UTF-8 JSON: name -> {"dtype", "shape", "data_offsets": [begin, end]}, and "__metadata__"
//   from 8+N       the tensors' bytes, row-major; offsets count from here and tile the rest of the file
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/finding.h"
#include "tensor/tensor.h"
#include "weights/metadata.h"

namespace mu {

inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;  // bytes; the reference's MAX_HEADER_SIZE
inline constexpr std::uint64_t kMaxHubHeader = 25'000'000;           // the Hub clients' limit

struct SafetensorsHeader {
  std::uint64_t header_bytes = 0;  // N
  std::optional<Metadata> metadata;
  // In the order of their bytes; `offset` counts from the start of the file. Of equal names it has the last in
  // the header, as the reference does.
  std::vector<Tensor> tensors;
  std::uint64_t data_bytes = 0;  // how far the tensors reach behind the header

  [[nodiscard]] std::uint64_t data_begin() const { return 8 + header_bytes; }
};

// Judges the first eight bytes and returns the length of the header. `file_size` is nothing where it is not
// known yet, as for a stream. `start` holds the start of the file, at best 512 bytes, so that a pointer file,
// a web page or another format can be named. Returns nothing, and adds a finding, when no header can follow.
std::optional<std::uint64_t> safetensors_header_size(std::string_view start,
                                                     std::optional<std::uint64_t> file_size,
                                                     std::string_view file, Findings& findings);

// Parses the N bytes after the length. Everything odd goes to `findings` under `file`; where one of level
// kLoads is among them the tensors are those that could be understood. The tensors' source is left 0.
SafetensorsHeader parse_safetensors_header(std::string_view json, std::string_view file, Findings& findings);

// Compares the file's size with what its header declares (ST-SIZE), naming the first tensors that are cut.
void check_safetensors_size(const SafetensorsHeader& header, std::uint64_t file_size, std::string_view file,
                            Findings& findings);

// One tensor to be written.
struct TensorSpec {
  std::string name;
  Dtype dtype;
  std::vector<std::uint64_t> shape;
  std::uint64_t size;  // bytes
};

// The reference's order: dtype descending in enum order, then name. Returns indices into `tensors`.
std::vector<std::size_t> safetensors_order(const std::vector<TensorSpec>& tensors);

// The bytes before the data: length and padded header for tensors written in this order without gaps. Throws
// kRefused when the header would pass the reference's limit.
std::string safetensors_prefix(const std::vector<TensorSpec>& tensors, const std::vector<std::size_t>& order,
                               const std::optional<Metadata>& metadata);

}  // namespace mu
