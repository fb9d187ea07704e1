// SPDX-License-Identifier: Apache-2.0
// Worker threads for work that comes in pieces.
#pragma once

#include <cstddef>
#include <functional>

namespace mu {

// How many threads this process may use: its CPU affinity, and the quota of its control group rounded up. At
// least 1.
unsigned default_thread_count();

// Calls work(0) … work(count - 1), in that order of starting, on up to `threads` threads. The first exception
// of a piece (Interrupted included) stops the others from starting and is thrown again when all have ended.
void parallel_for(std::size_t count, unsigned threads, const std::function<void(std::size_t index)>& work);

}  // namespace mu
