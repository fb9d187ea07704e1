// SPDX-License-Identifier: Apache-2.0
// What a run that reads far files writes down in its record (fetch/partial.h), so that another one can go on: a line
// for each step that is on the disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fetch/fetcher.h"
#include "tensor/cast.h"
#include "weights/quant/encoded.h"

namespace mu {

// Tensors are told by the number of their file in the plan and their own in it.
struct FarLoss {
  std::size_t file = 0, tensor = 0;
  CastReport report{};
};

// Bytes of a tensor that were written, with --verify.
struct FarPiece {
  std::size_t file = 0, tensor = 0;
  std::uint64_t at = 0, size = 0;
  std::uint32_t crc = 0;
};

struct FarStep {
  std::optional<FetchMark> mark{};  // how far the fetch has passed
  std::vector<std::size_t> done{};  // jobs
  std::vector<FarLoss> losses{};
  std::vector<FarPiece> pieces{};
  std::vector<std::pair<std::size_t, std::string>> hashes{};        // of the tensors of jobs, with --verify
  std::vector<std::pair<std::size_t, QuantError::Piece>> errors{};  // of modules of --quantize

  [[nodiscard]] std::string text() const;                 // one line of JSON
  static std::optional<FarStep> parse(std::string_view);  // nothing for any other text
};

}  // namespace mu
