// SPDX-License-Identifier: Apache-2.0
// What a pickle would do to the Python that loads it: every class or function it names, with a verdict, and
// every call it would make. An allow-list decides; the list of dangerous names only sharpens the words, since
// lists of what is bad are never complete (picklescan and fickling document dozens of ways around theirs).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weights/pickle.h"

namespace mu {

enum class Verdict : std::uint8_t { kHarmless, kUnknown, kDangerous };
std::string_view verdict_name(Verdict verdict);  // "harmless"

// A global by its name in Python 3, however it is called from. `module` and `name` as written; a name may
// have dots.
Verdict judge_global(std::string_view module, std::string_view name);

// Python 2 names become those of Python 3, as pickle.Unpickler(fix_imports=True) maps them.
std::string canonical_global(std::string_view module, std::string_view name);

// Whether torch.load(weights_only=True) resolves the name (torch/_weights_only_unpickler.py).
bool is_weights_only_global(std::string_view canonical);

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
};
PickleReport report_pickle(const Pickle& pickle);

}  // namespace mu
