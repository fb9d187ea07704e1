// SPDX-License-Identifier: Apache-2.0
// Writes the files of weights of a plan that reads files on other machines, each byte of them once, and so that another
// process can go on where this one ends.
//
//   fetch (fetch/fetcher.h)   blocks ──► FarScatter ──► files of the output, mirror
//                             marks  ──► synced, then noted in the record; FarJobs makes what has all its needs
//
// Everything lies in the partial output (fetch/partial.h): "output" is the stage that os/stage.h puts in place,
// "mirror" what jobs wait for.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/progress.h"
#include "fetch/mirror.h"
#include "fetch/needs.h"
#include "fetch/partial.h"
#include "pack/far_plan.h"
#include "pack/far_record.h"
#include "pack/tensor_writer.h"
#include "pack/verify.h"
#include "pack/write_options.h"
#include "pack/write_result.h"

namespace mu {

class FarWriter {
 public:
  // Goes on with what the partial output holds. Borrows all.
  FarWriter(const PackPlan& plan, const FarPlan& far, const WriteOptions& options, PartialOutput& partial);
  FarWriter(const FarWriter&) = delete;
  FarWriter& operator=(const FarWriter&) = delete;

  [[nodiscard]] std::string stage() const;  // the lasting place for StagedFolder or StagedFile

  // Writes `files`, those of the plan in its order; of an earlier run they are there already. What is read counts in
  // `progress`.
  void write(std::vector<OutputFile>& files, const TensorWriter& writer, Progress& progress,
             WriteResult& result);
  // With --verify, of what was written.
  [[nodiscard]] TensorSum sum_of(std::size_t file, std::size_t tensor) const;
  // Before the stage is put in place: throws kTemporary if another run has taken over.
  void require_held() const { partial_.require_held(); }

 private:
  void continue_from_record();
  void add(const FarStep& step);
  [[nodiscard]] bool is_sound(const FarStep& step) const;
  [[nodiscard]] bool has_files() const;
  void note(const FarStep& step);
  [[nodiscard]] std::vector<std::vector<FarRange>> needs_to_come() const;
  [[nodiscard]] std::uint64_t written() const;
  void tell_losses(WriteResult& result) const;

  const PackPlan& plan_;
  const WriteOptions& options_;
  const FarPlan& far_;
  PartialOutput& partial_;
  // What the record says, of earlier runs and this one.
  mutable std::mutex mutex_;
  FetchMark mark_{};
  std::vector<bool> done_;  // jobs
  std::map<std::pair<std::size_t, std::size_t>, CastReport> losses_;
  std::map<std::pair<std::size_t, std::size_t>, std::map<std::uint64_t, FarPiece>> pieces_;
  std::map<std::pair<std::size_t, std::size_t>, std::string> hashes_;
};

// Does `work`, which puts the output in place, with the partial output of `out` (fetch/partial_run.h).
void with_far_writer(const PackPlan& plan, const std::string& out, const WriteOptions& options,
                     const std::function<void(FarWriter&)>& work);

}  // namespace mu
