// SPDX-License-Identifier: Apache-2.0
// Passes over the data of many tensors with all threads: statistics and hashes. Results come in the order of
// the list and don't depend on the number of threads; memory depends on neither the model nor the list.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/progress.h"
#include "tensor/stats.h"
#include "weights/weights.h"

namespace mu {

// Told of each tensor in the order of the list.
using OnStats = std::function<void(const Tensor& tensor, const TensorStats& stats)>;

// Reads every tensor once; returns the totals of all. Tensors whose dtype has no values to read (F6) give a
// count of 0.
TensorStats measure_stats(const Weights& weights, const std::vector<const Tensor*>& tensors, unsigned threads,
                          Progress& progress, const OnStats& on_stats);

struct Hashes {
  std::vector<std::string> files;    // SHA-256 in hex, as the files of the set
  std::vector<std::string> tensors;  // tensor hashes, as the list
  std::string content;               // "st-content-1:" and the digest of the list
};
// Definitions in weights/digest.h.
Hashes measure_hashes(const Weights& weights, const std::vector<const Tensor*>& tensors, unsigned threads,
                      Progress& progress);

// The same in pieces: a unit is a file of the set or, counted on from there, a tensor of the list. One hash
// each.
std::vector<std::string> measure_hash_units(const Weights& weights, const std::vector<const Tensor*>& tensors,
                                            const std::vector<std::size_t>& units, unsigned threads,
                                            Progress& progress);
// From the hashes of all units.
Hashes hashes_of_units(const Weights& weights, const std::vector<const Tensor*>& tensors,
                       const std::vector<std::string>& units);

// Text of one tensor's statistics: columns of a TSV line after the name and dtype.
// count, min, max, mean, std, absmax, zeros, NaN, infinities; numbers with so many digits.
std::vector<std::string> stats_columns(const TensorStats& stats, int digits);

// "all zero", "constant", "fits bf16", joined with commas; what a person should know of one tensor.
std::string stats_remarks(Dtype dtype, const TensorStats& stats);

}  // namespace mu
