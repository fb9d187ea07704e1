// SPDX-License-Identifier: Apache-2.0
// Small dense matrices in fp64: eigenpairs, and what is made of the thin factors of adapters. Its source is the one
// unit that compiles Eigen, which takes longer than the rest of this folder.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lora/factors.h"

namespace mu {

// Eigenvalues (largest first) and, by row, eigenvectors of a symmetric matrix [n, n].
struct SymmetricEigen {
  std::vector<double> values, vectors;
};
SymmetricEigen symmetric_eigen(std::span<const double> matrix, std::size_t n);
std::vector<double> symmetric_eigenvalues(std::span<const double> matrix, std::size_t n);  // alone: faster

// approximate() by the Gram matrix of the short side, for matrices whose rank is not low. `total` is the squared
// Frobenius norm of a[m, n].
LowRank approximate_dense(std::span<const float> a, std::size_t m, std::size_t n, std::size_t rank,
                          double total);

// A delta s B A: its factors, row-major.
struct Factors {
  std::vector<double> a, b;  // [rank, columns], [rows, rank] with the scale in it
  std::size_t rows = 0, columns = 0, rank = 0;
};

struct DeltaComparison {
  double distance = 0;  // ||dA - dB||_F / max(||dA||_F, ||dB||_F)
  double cosine = 0;    // of the deltas as vectors
  // Largest and mean principal angle between the spaces that the deltas write to, in degrees; of as many
  // dimensions as the smaller rank has.
  double largest_angle = 0, mean_angle = 0;
};
// Of deltas of one shape.
DeltaComparison compare_deltas(const Factors& a, const Factors& b);

// The largest singular values of a delta, split over both factors and padded with zeros.
struct CutDelta {
  std::vector<float> a, b;  // [rank asked for, columns], [rows, rank asked for]
  std::size_t rank = 0;     // without what is padded
  double error = 0;         // of the delta, relative
};
CutDelta cut_delta(const Factors& factors, std::size_t rank);

}  // namespace mu
