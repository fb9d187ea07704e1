// SPDX-License-Identifier: Apache-2.0
// What a factorisation of a matrix found.
#pragma once

#include <cstddef>
#include <vector>

namespace mu {

struct LowRank {
  std::size_t rank = 0;        // columns below; less than asked for where the matrix has no more
  std::vector<float> left;     // [m, rank], U sqrt(s)
  std::vector<float> right;    // [rank, n], sqrt(s) V^T
  std::vector<double> values;  // singular values that were found, largest first; more than `rank`
  double total = 0;            // squared Frobenius norm of the matrix
  double captured = 0;         // of it, what the first `rank` values hold
  double gap = 0;              // estimate of the error over the optimum, relative; 0: exact
};

}  // namespace mu
