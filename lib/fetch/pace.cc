// SPDX-License-Identifier: Apache-2.0
#include "fetch/pace.h"

#include <algorithm>

namespace mu {
namespace {

constexpr double kGain = 1.05;    // what more connections must bring
constexpr double kSlowest = 4.0;  // seconds a request, beyond which the line is the limit
constexpr double kEpoch = 0.5;    // seconds that are measured at least
constexpr double kStale = 15.0;   // seconds after which a rate is measured anew

}  // namespace

unsigned next_connections(const FetchPace& pace) {
  const unsigned fewer =
      std::max(kFewConnections, pace.connections - std::min(pace.connections, kConnectionStep));
  const unsigned more = std::min(kManyConnections, pace.connections + kConnectionStep);
  const bool gained = pace.rate_with_fewer > 0 && pace.rate >= pace.rate_with_fewer * kGain;
  if (pace.rate_with_fewer > 0 && !gained) return fewer;
  if (pace.rate_with_more > 0) return pace.rate_with_more < pace.rate * kGain ? pace.connections : more;
  return pace.request_s > kSlowest && !gained ? fewer : more;
}

unsigned PaceMeter::note(double now_s, std::uint64_t bytes, double request_s) {
  ++requests_;
  if (requests_ <= connections_) {  // was under way when the number changed
    began_s_ = now_s;
    return connections_;
  }
  bytes_ += bytes;
  request_s_ += request_s;
  const double elapsed_s = now_s - began_s_;
  if (elapsed_s < kEpoch || requests_ < 3 * connections_) return connections_;
  measured_[connections_ / kConnectionStep] = {static_cast<double>(bytes_) / elapsed_s, now_s};
  const unsigned next = next_connections(
      {connections_, rate_with(connections_, now_s), rate_with(connections_ - kConnectionStep, now_s),
       rate_with(connections_ + kConnectionStep, now_s), request_s_ / (requests_ - connections_)});
  // An epoch that changes nothing is followed by another at once.
  requests_ = next == connections_ ? connections_ : 0;
  connections_ = next;
  began_s_ = now_s;
  bytes_ = 0;
  request_s_ = 0;
  return connections_;
}

double PaceMeter::rate_with(unsigned connections, double now_s) const {
  const std::size_t i = connections / kConnectionStep;
  if (i >= measured_.size() || now_s - measured_[i].at_s > kStale) return 0;
  return measured_[i].rate;
}

}  // namespace mu
