// SPDX-License-Identifier: Apache-2.0
// Files of torch: zip and legacy containers, storages, tensors.
#include "weights/torch/file.h"

#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mu::fuzzing::read_weights(data, size, [](mu::Weights& weights, mu::InputFile file) {
    mu::add_torch_file(weights, std::move(file));
  });
  return 0;
}
