// SPDX-License-Identifier: Apache-2.0
// Weights that are stored the other way round than their plain tensors: [in, out] instead of [out, in] by GPTQ and
// AWQ, [out, in] instead of [in, out] by gpt-oss. A row of the plain tensor is a column of what is stored, so that a
// few rows are spread over all of it, and each stretch would cost a pass over the whole. So a strip of many rows is
// read at once and kept as long as a thread is working on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "weights/gather.h"

namespace mu {

class Strips {
 public:
  static constexpr std::uint64_t kLargestUnit = 8U << 20;  // bytes; more than any model needs
  static constexpr std::uint64_t kSpare = 8;               // bytes, which may be read

  // Units are the fewest rows that have whole bytes of their own in each source. Unit u of source i is its bytes [u *
  // unit_bytes[i], (u + 1) * unit_bytes[i]): a transposed view (weights/views.h). The last unit may have fewer rows.
  Strips(std::uint64_t units, std::vector<std::uint64_t> unit_bytes);

  struct Strip {
    std::uint64_t first = 0, count = 0;         // units
    std::vector<std::vector<std::byte>> bytes;  // of each source, and kSpare more
  };
  // The strip with this unit in it. Thread safe.
  std::shared_ptr<const Strip> around(const Sources& sources, std::uint64_t unit);

 private:
  struct Kept : Strip {
    Kept() = default;
    ~Kept();
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;
    std::mutex reading;
    bool read = false;
  };
  std::shared_ptr<Kept> find(std::uint64_t unit);

  std::uint64_t units_, per_strip_;
  std::vector<std::uint64_t> unit_bytes_;
  std::mutex mutex_;
  std::vector<std::weak_ptr<Kept>> kept_;  // what some thread has in use
};

}  // namespace mu
