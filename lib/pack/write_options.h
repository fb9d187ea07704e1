// SPDX-License-Identifier: Apache-2.0
// How a plan is carried out.
#pragma once

#include <string>

namespace mu {

struct WriteOptions {
  bool force = false;
  bool verify = false;  // reread the output and compare it with what should be there
  unsigned threads = 1;
  bool progress = false;
  // Where files on other machines are read:
  std::string fingerprint{};  // of the plan (part.h)
  unsigned connections = 0;   // requests in flight; 0: as latency and bandwidth ask for
};

}  // namespace mu
