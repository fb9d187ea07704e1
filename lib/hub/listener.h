// SPDX-License-Identifier: Apache-2.0
// How a push reports what it does.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace mu {

// Every member may be called from any thread.
struct PushListener {
  std::function<void(const std::string&)> note, warning, detail;
  // Begins a phase that moves `total` bytes. The result is called with the size of each piece.
  std::function<std::function<void(std::uint64_t)>(const std::string& what, std::uint64_t total)> progress;
};

}  // namespace mu
