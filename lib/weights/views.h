// SPDX-License-Identifier: Apache-2.0
// Tensors that are others in another order: parts of them, several joined, dimensions exchanged. Nothing is read;
// the result is a tensor with a layout over the same files, whatever its sources are (plain, of several ranks,
// deflated, computed). A result that is one run of bytes in one file is plain again, so that copying it stays a copy.
//
// The name is that of the (first) source. Shapes come from files, so that what does not fit throws kMalformed and
// names the tensor. Types with several values in a byte, and blocks of quantised values, are cut between whole bytes
// or refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace mu {

// [begin, begin + count) of dimension `dim`.
Tensor slice(const Tensor& tensor, std::size_t dim, std::uint64_t begin, std::uint64_t count);

// One index of dimension `dim`, which the result lacks.
Tensor select(const Tensor& tensor, std::size_t dim, std::uint64_t index);

// One after the other along dimension `dim`; of one type, and alike in all other dimensions.
Tensor concatenate(std::span<const Tensor> tensors, std::size_t dim);

// Along a new dimension, which becomes dimension `dim`; of one type and shape.
Tensor stack(std::span<const Tensor> tensors, std::size_t dim);

Tensor transpose(const Tensor& tensor, std::size_t first, std::size_t second);

// The same values, row-major, in another shape of as many elements.
Tensor reshape(const Tensor& tensor, std::vector<std::uint64_t> shape);

// Sees dimension `dim` of n elements as [groups, parts, n / groups / parts] and exchanges the last two of them:
// within each group, what lay in `parts` runs is interleaved. Throws if n does not divide.
Tensor interleave(const Tensor& tensor, std::size_t dim, std::uint64_t groups, std::uint64_t parts);

}  // namespace mu
