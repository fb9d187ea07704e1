// SPDX-License-Identifier: Apache-2.0
// Which bytes of which files a tensor is made of, whatever its layout: plain, boxes, views of others, computed. Pure:
// nothing is read.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "fetch/ranges.h"
#include "weights/weights.h"

namespace mu {

// Called with each run of bytes; runs may overlap.
using Leaf = std::function<void(const WeightsFile& file, std::uint64_t offset, std::uint64_t size)>;

// The runs that reading all of `tensor`, one of the set `weights` or made of such, asks for. What lies between two runs
// is taken along where that costs less than a request. Throws kMalformed for compressed bytes of a far file, which have
// no ranges.
void for_leaves(const Weights& weights, const Tensor& tensor, const Leaf& leaf);

// Adds those that lie on other machines to `ranges`.
void add_far_leaves(const Weights& weights, const Tensor& tensor, std::vector<FarRange>& ranges);

// In the order of files (that of their first range) and offsets; what overlaps or touches is one.
std::vector<FarRange> without_overlaps(std::vector<FarRange> ranges);

}  // namespace mu
