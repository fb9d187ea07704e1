// SPDX-License-Identifier: Apache-2.0
// The metadata of torch distributed checkpoints, in a folder without pieces and with one that is empty.
#include "weights/ranks/dcp.h"

#include <cstdlib>
#include <fstream>
#include <string>

#include "fuzz_file.h"
#include "weights/ranks/dcp_places.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string folder = [] {
    std::string path = "/dev/shm/mu-fuzz-XXXXXX";
    return std::string(::mkdtemp(path.data()) == nullptr ? "." : path);
  }();
  try {
    mu::DcpPlaces places;
    mu::add_dcp_places(mu::fuzzing::as_view(data, size), places);
  } catch (const mu::Error&) {
  }
  std::ofstream(folder + "/.metadata", std::ios::binary) << mu::fuzzing::as_view(data, size);
  std::ofstream(folder + "/__0_0.distcp", std::ios::binary) << "PK";
  try {
    mu::open_dcp(folder);
  } catch (const mu::Error&) {
  }
  std::remove((folder + "/.metadata").c_str());
  return 0;
}
