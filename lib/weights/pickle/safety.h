// SPDX-License-Identifier: Apache-2.0
// What a pickle would do to the Python that loads it: every class or function it names, with a verdict, and
// every call it would make.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weights/pickle/names.h"
#include "weights/pickle/pickle.h"

namespace mu {

struct PickleReport {
  struct Name {
    std::string name;     // in Python 3
    std::string written;  // where the pickle spells it otherwise
    Verdict verdict;
    std::uint64_t at;  // byte of the pickle where it comes first
    std::uint64_t count;
  };
  struct Call {
    std::string callee;  // "os.system", or how the callee comes about
    std::string how;     // "REDUCE"
    std::uint64_t at, count;
  };
  std::string pickle;         // which one: the member of an archive, or empty
  std::vector<Name> globals;  // dangerous ones first, then by place
  std::vector<Call> calls;    // by place
  Verdict worst = Verdict::kHarmless;
  std::optional<std::string> weights_only_objection;  // why torch.load(weights_only=True) refuses it
  std::optional<PickleFault> fault;                   // the report covers what comes before it
  std::optional<PickleFault> oddity;                  // what readers disagree about
};
PickleReport report_pickle(const Pickle& pickle);

}  // namespace mu
