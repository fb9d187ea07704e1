// SPDX-License-Identifier: Apache-2.0
// Passes over the data of many tensors with all threads: statistics and hashes. Results come in the order of
// the list and do not depend on the number of threads; memory grows with neither the model nor the list.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/progress.h"
#include "tensor/stats.h"
#include "weights/weights.h"

namespace mu {

// Called for each tensor in the order of the list.
using OnStats = std::function<void(const Tensor& tensor, const TensorStats& stats)>;

// Reads every tensor once; returns the totals over all. Tensors whose dtype has no values to read (F6) have a
// count of 0.
TensorStats measure_stats(const Weights& weights, const std::vector<const Tensor*>& tensors, unsigned threads,
                          Progress& progress, const OnStats& on_stats);

struct Hashes {
  std::vector<std::string> files;    // SHA-256 in hex, in the order of the files of the set
  std::vector<std::string> tensors;  // tensor hashes, in the order of the list
  std::string content;               // "st-content-1:" and the digest of the list
};
// weights/digest.h defines these hashes.
Hashes measure_hashes(const Weights& weights, const std::vector<const Tensor*>& tensors, unsigned threads,
                      Progress& progress);

// The same for some units: a unit is a file of the set or, numbered after the files, a tensor of the list.
// Returns one hash for each.
std::vector<std::string> measure_hash_units(const Weights& weights, const std::vector<const Tensor*>& tensors,
                                            const std::vector<std::size_t>& units, unsigned threads,
                                            Progress& progress);
// Builds the result from the hashes of all units.
Hashes hashes_of_units(const Weights& weights, const std::vector<const Tensor*>& tensors,
                       const std::vector<std::string>& units);

// The statistics of one tensor as text: the columns of a TSV line after name and dtype, which are count, min,
// max, mean, std, absmax, zeros, NaN, infinities; numbers have `digits` digits.
std::vector<std::string> stats_columns(const TensorStats& stats, int digits);

// What the user should know about one tensor: "all zero", "constant", "fits bf16", joined with commas.
std::string stats_remarks(Dtype dtype, const TensorStats& stats);

}  // namespace mu
