// SPDX-License-Identifier: Apache-2.0
// Arrays and archives of NumPy.
#include "weights/npy.h"

#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const bool archive = mu::fuzzing::as_view(data, size).starts_with("PK");
  mu::fuzzing::read_weights(data, size, [archive](mu::Weights& weights, mu::InputFile file) {
    if (archive) {
      mu::add_npz(weights, std::move(file));
    } else {
      mu::add_npy(weights, std::move(file), "x");
    }
  });
  return 0;
}
