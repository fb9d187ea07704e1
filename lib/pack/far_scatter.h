// SPDX-License-Identifier: Apache-2.0
// Puts blocks of far files where they belong: bytes that are copied or cast into the files of the output, bytes that
// jobs wait for into the mirror. Blocks may come in any order and cut an element in two.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "fetch/fetcher.h"
#include "fetch/mirror.h"
#include "fetch/needs.h"
#include "os/copy.h"
#include "pack/far_output.h"
#include "pack/far_plan.h"
#include "pack/far_record.h"

namespace mu {

class FarScatter {
 public:
  // Borrows all. With `sums` the CRC of each piece that is written is kept. `on_bytes` gets bytes of output.
  FarScatter(const PackPlan& plan, const FarPlan& far, FarOutput& output, const Needs& needs, Mirror& mirror,
             bool sums, OnBytes on_bytes);

  // Gets what an element that is cut at `start` has before it: an earlier run took that.
  void begin(const SequencePoint& start);
  // Thread safe, both.
  void take(const FarBlock& block);
  // What came of the blocks before `end`, since the last call.
  FarStep passed(const SequencePoint& end);

 private:
  struct Part;
  class Run;
  struct Cut {
    std::array<std::byte, 8> bytes{};
    std::uint64_t have = 0;
  };
  template <typename Visit>
  void for_copies(std::size_t range, std::uint64_t begin, std::uint64_t end, Visit visit) const;
  void copy(const FarCopy& copy, const Part& part, Run& run);
  void cast_part(const FarCopy& copy, const Part& part, Run& run);
  void add_cut(const FarCopy& copy, std::uint64_t at, std::span<const std::byte> bytes);
  // Below, `end` is where in the copy the bytes end that were taken, `at` where in the tensor they were written.
  [[nodiscard]] SequencePoint point_of(const FarCopy& copy, std::uint64_t end) const;
  void note(const FarCopy& copy, std::uint64_t end, const CastReport& report);
  void note_piece(const FarCopy& copy, std::uint64_t end, std::uint64_t at, std::span<const std::byte> bytes);

  const PackPlan& plan_;
  const FarPlan& far_;
  FarOutput& output_;
  const Needs& needs_;
  Mirror& mirror_;
  bool sums_;
  OnBytes on_bytes_;
  std::vector<std::uint64_t> reach_;  // the largest end among the copies of a range up to this one
  std::mutex mutex_;                  // guards what follows
  std::map<std::pair<std::size_t, std::uint64_t>, Cut>
      cuts_;  // by number of the copy and byte of the element in it
  std::vector<std::pair<SequencePoint, FarLoss>> losses_;  // with the end of the bytes they came from
  std::vector<std::pair<SequencePoint, FarPiece>> pieces_;
};

}  // namespace mu
