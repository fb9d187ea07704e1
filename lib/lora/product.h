// SPDX-License-Identifier: Apache-2.0
// The product of two thin factors, added to a matrix.
#pragma once

#include <cstddef>

namespace mu {

// values[m, n] += scale * left[m, k] right[k, n], all row-major; the rows of `right` are `stride` apart. The
// sum of each element runs over k in order, and products are rounded before they are added: the same bits
// everywhere.
struct Product {
  const float* left;
  const float* right;
  float* values;
  std::size_t m, n, k, stride;
  float scale;
};
void add_product(const Product& product);

}  // namespace mu
