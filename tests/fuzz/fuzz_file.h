// SPDX-License-Identifier: Apache-2.0
// Shared by the fuzz targets: the input as a file, and what every reader's result must survive.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "os/file.h"
#include "weights/weights.h"

namespace mu::fuzzing {

// A file in memory with these bytes.
inline InputFile as_file(const std::uint8_t* data, std::size_t size) {
  const int fd = ::memfd_create("input", MFD_CLOEXEC);
  for (std::size_t done = 0; done < size;) {
    const ssize_t put = ::write(fd, data + done, size - done);
    if (put <= 0) break;
    done += static_cast<std::size_t>(put);
  }
  return InputFile::adopt(Fd(fd), "input");
}

// Opens with `add` and reads the first and last bytes of the first tensors. Our own errors are valid answers.
template <typename Add>
void read_weights(const std::uint8_t* data, std::size_t size, Add add) {
  constexpr std::size_t kTensors = 16, kBytes = 4096;
  try {
    Weights weights;
    add(weights, as_file(data, size));
    if (weights.findings.first_up_to(Level::kLoads) != nullptr) return;
    for (std::size_t i = 0; i < std::min(kTensors, weights.tensors.size()); ++i) {
      const Tensor& tensor = weights.tensors[i];
      std::vector<std::byte> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(kBytes, tensor.size)));
      weights.read(tensor, 0, buffer);
      weights.read(tensor, tensor.size - buffer.size(), buffer);
    }
  } catch (const Error&) {
  }
}

inline std::string_view as_view(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace mu::fuzzing

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
