// SPDX-License-Identifier: Apache-2.0
#include "fetch/pace.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

using namespace mu;

namespace {

// Runs the meter against a line on which a request of `bytes` takes what `seconds` says for so many connections.
unsigned settled(const std::function<double(unsigned)>& seconds, double for_s,
                 std::uint64_t bytes = 1 << 20) {
  double now = 0;
  PaceMeter meter(now);
  unsigned connections = kFirstConnections, most_at_end = 0;
  while (now < for_s) {
    const double request_s = seconds(connections);
    now += request_s / connections;
    connections = meter.note(now, bytes, request_s);
    if (now > for_s * 3 / 4) most_at_end = std::max(most_at_end, connections);
  }
  return most_at_end;
}

}  // namespace

TEST_CASE("pace: more connections while they make it faster, fewer where they did not") {
  struct Case {
    FetchPace pace;
    unsigned next;
  };
  for (const Case& c : {
           Case{{8, 100, 0, 0, 0.1}, 12},     // nothing is known: try
           Case{{12, 150, 100, 0, 0.1}, 16},  // it helped
           Case{{12, 101, 100, 0, 0.1}, 8},   // it did not
           Case{{8, 100, 0, 101, 0.1}, 8},    // and is not tried again
           Case{{8, 100, 0, 150, 0.1}, 12},   // it used to help
           Case{{16, 200, 150, 0, 0.1}, 16},  // no more than that
           Case{{4, 100, 0, 0, 9}, 4},        // no fewer either
           Case{{8, 100, 0, 0, 9}, 4},        // all wait for one slow line
           Case{{8, 100, 80, 0, 9}, 12},      // unless it gets faster
           Case{{4, 100, 0, 200, 9}, 8},
       }) {
    CAPTURE(c.pace.connections);
    CAPTURE(c.pace.rate);
    CHECK(next_connections(c.pace) == c.next);
  }
}

TEST_CASE("pace: latency and a limit for each connection ask for many, a line that is full for few") {
  // Each connection has its own 10 MB/s or waits 100 ms, whatever the others do.
  CHECK(settled([](unsigned) { return 0.1; }, 20) == 16);
  // 300 MB/s for all: 8 is enough, and 12 is tried now and then.
  CHECK(settled([](unsigned connections) { return connections / 300.0; }, 60) <= 12);
  // 200 kB/s for all.
  CHECK(settled([](unsigned connections) { return connections * 5.0; }, 2000) <= 8);
}
