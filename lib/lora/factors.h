// SPDX-License-Identifier: Apache-2.0
// The result of approximating a matrix.
#pragma once

#include <cstddef>
#include <vector>

namespace mu {

struct LowRank {
  std::size_t rank = 0;        // columns of `left`; less than requested if the matrix has no more
  std::vector<float> left;     // [m, rank], U sqrt(s)
  std::vector<float> right;    // [rank, n], sqrt(s) V^T
  std::vector<double> values;  // the singular values found, largest first; more than `rank`
  double total = 0;            // squared Frobenius norm of the matrix
  double captured = 0;         // how much of `total` the first `rank` values hold
  double gap = 0;              // estimated relative excess of the error over the optimum; 0: exact
};

}  // namespace mu
