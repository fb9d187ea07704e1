// SPDX-License-Identifier: Apache-2.0
// Small dense matrices in fp64: eigenpairs, and what is computed from the thin factors of adapters. Its
// source is the only unit that compiles Eigen, which takes longer than the rest of this folder.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lora/factors.h"

namespace mu {

// The eigenvalues (largest first) and, in the rows of `vectors`, the eigenvectors of a symmetric matrix [n,
// n].
struct SymmetricEigen {
  std::vector<double> values, vectors;
};
SymmetricEigen symmetric_eigen(std::span<const double> matrix, std::size_t n);
std::vector<double> symmetric_eigenvalues(std::span<const double> matrix,
                                          std::size_t n);  // without vectors: faster

// Like approximate(), by the Gram matrix of the short side, for matrices whose rank is not low. `total` is
// the squared Frobenius norm of a[m, n].
LowRank approximate_dense(std::span<const float> a, std::size_t m, std::size_t n, std::size_t rank,
                          double total);

// A delta s B A as its factors, row-major.
struct Factors {
  std::vector<double> a, b;  // [rank, columns] and [rows, rank], which includes the scale
  std::size_t rows = 0, columns = 0, rank = 0;
};

struct DeltaComparison {
  double distance = 0;  // ||dA - dB||_F / max(||dA||_F, ||dB||_F)
  double cosine = 0;    // between the deltas as vectors
  // The largest and the mean principal angle between the spaces that the deltas write to, in degrees; as many
  // angles as the smaller rank.
  double largest_angle = 0, mean_angle = 0;
};
// Compares two deltas of the same shape.
DeltaComparison compare_deltas(const Factors& a, const Factors& b);

// A delta reduced to its largest singular values, split over both factors and padded with zeros.
struct CutDelta {
  std::vector<float> a, b;  // [requested rank, columns] and [rows, requested rank]
  std::size_t rank = 0;     // without padding
  double error = 0;         // relative error of the delta
};
CutDelta cut_delta(const Factors& factors, std::size_t rank);

}  // namespace mu
