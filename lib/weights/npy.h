// SPDX-License-Identifier: Apache-2.0
// Arrays in NumPy's .npy format (numpy/lib/_format_impl.py): magic, version, a header that is the text of a
// Python dict, then the data; and .npz, a zip archive of such files.
#pragma once

#include <string>
#include <string_view>

#include "tensor/tensor.h"
#include "weights/weights.h"

namespace mu {

bool is_npy_start(std::string_view start);
// A zip archive whose first member is an array, or one that is called .npz.
bool is_npz_start(std::string_view start, std::string_view path);

// Adds an array as a tensor called `name`. Fortran order and big-endian data become a layout; texts, times
// and other types that safetensors lacks are foreign. Throws kMalformed for arrays of objects and for
// a file shorter than it declares.
void add_npy(Weights& weights, InputFile file, std::string name);

// Adds the arrays of an archive, by their names without ".npy". An array that can't be read is a finding
// (NP-ARRAY, level loads). Throws kMalformed for an archive that can't be read.
void add_npz(Weights& weights, InputFile file);

// The bytes before the data of a version 1.0 file, as numpy.save writes them. Throws kRefused for a dtype
// that NumPy has no name for (bf16, f8).
std::string npy_prefix(const Tensor& tensor);

}  // namespace mu
