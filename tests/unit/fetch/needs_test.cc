// SPDX-License-Identifier: Apache-2.0
#include "fetch/needs.h"

#include <doctest/doctest.h>

using namespace mu;

namespace {

using Ranges = std::vector<FarRange>;

const FarFile kA{.size = 1000, .read = {}}, kB{.size = 1000, .read = {}};

}  // namespace

TEST_CASE("needs: a job can be done behind the last of the ranges that it needs, wherever they come") {
  const Ranges sequence = {{&kA, 0, 100}, {&kB, 50, 50}, {&kA, 300, 100}, {&kA, 100, 10}};
  const SequencePlaces places(sequence);
  CHECK(places.end_of({}) == SequencePoint{0, 0});
  CHECK(places.end_of({{&kA, 10, 20}}) == SequencePoint{0, 30});
  CHECK(places.end_of({{&kA, 0, 100}}) == SequencePoint{0, 100});
  CHECK(places.end_of({{&kA, 0, 100}, {&kB, 60, 5}}) == SequencePoint{1, 15});
  CHECK(places.end_of({{&kA, 300, 1}, {&kB, 60, 5}}) == SequencePoint{2, 1});
  CHECK(places.end_of({{&kA, 90, 15}}) == SequencePoint{3, 5});  // begins in one range and ends in another
}

TEST_CASE("needs: bytes are free when the last job that needs them is done") {
  const std::vector<Ranges> jobs = {{{&kA, 0, 100}}, {{&kA, 50, 100}, {&kB, 0, 10}}, {{&kA, 60, 10}}};
  Needs needs(jobs);
  CHECK(needs.within({&kA, 0, 1000}) == Ranges{{&kA, 0, 150}});
  CHECK(needs.within({&kA, 140, 100}) == Ranges{{&kA, 140, 10}});
  CHECK(needs.within({&kB, 10, 100}).empty());
  CHECK(needs.finish(jobs[0]) == Ranges{{&kA, 0, 50}});
  CHECK(needs.within({&kA, 0, 1000}) == Ranges{{&kA, 50, 100}});
  CHECK(needs.finish(jobs[1]) == Ranges{{&kA, 50, 10}, {&kA, 70, 80}, {&kB, 0, 10}});
  CHECK(needs.finish(jobs[2]) == Ranges{{&kA, 60, 10}});
  CHECK(needs.within({&kA, 0, 1000}).empty());
}
