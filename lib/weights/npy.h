// SPDX-License-Identifier: Apache-2.0
// One array in NumPy's .npy format (numpy/lib/_format_impl.py): magic, version, a header that is the text of
// a Python dict, then the data.
#pragma once

#include <string>
#include <string_view>

#include "tensor/tensor.h"
#include "weights/weights.h"

namespace mu {

// Opens an array as a set of one tensor called `name`. Throws kMalformed for what safetensors can't hold
// (objects, text, structures, complex128 …), for Fortran order and big-endian data, and for a file shorter
// than it declares.
Weights open_npy(const std::string& path, std::string_view name);

// The bytes before the data of a version 1.0 file, as numpy.save writes them. Throws kRefused for a dtype
// that NumPy has no name for (bf16, f8).
std::string npy_prefix(const Tensor& tensor);

}  // namespace mu
