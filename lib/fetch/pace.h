// SPDX-License-Identifier: Apache-2.0
// How many requests should be in flight, as latency and bandwidth show: pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace mu {

constexpr unsigned kFewConnections = 4, kManyConnections = 16, kFirstConnections = 8, kConnectionStep = 4;

// What the last requests were like. Rates are bytes a second, 0 where not known.
struct FetchPace {
  unsigned connections;    // now
  double rate;             // with so many
  double rate_with_fewer;  // with kConnectionStep fewer
  double rate_with_more;   // with kConnectionStep more, when it was tried last
  double request_s;        // mean time of a request
};

// Goes up by a step while that makes it faster, and back if it did not. Where a request takes long since all of them share a slow
// line, fewer are enough.
unsigned next_connections(const FetchPace& pace);

// Measures it. Times are seconds of any clock that only goes on.
class PaceMeter {
 public:
  explicit PaceMeter(double now_s) : began_s_(now_s) {}
  // A request ended. Returns how many there should be from now on.
  unsigned note(double now_s, std::uint64_t bytes, double request_s);

 private:
  struct Measured {
    double rate = 0, at_s = 0;
  };
  [[nodiscard]] double rate_with(unsigned connections, double now_s) const;

  unsigned connections_ = kFirstConnections;
  double began_s_, request_s_ = 0;
  std::uint64_t bytes_ = 0;
  unsigned requests_ = 0;  // since the number changed, or since the last epoch plus `connections_`
  std::array<Measured, kManyConnections / kConnectionStep + 1> measured_{};
};

}  // namespace mu
