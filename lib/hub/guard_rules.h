// SPDX-License-Identifier: Apache-2.0
// The rules of what should not be published, and what was found against them. Some stop a push, some only
// warn.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mu {

struct GuardRule {
  std::string_view id;  // for --allow
  bool stops;
  std::string_view about;
};
// All rules, in the order of the manual.
const std::vector<GuardRule>& guard_rules();

// Places in guard_rules().
enum class Rule : unsigned char {
  kSecret,
  kKey,
  kLink,
  kIgnored,
  kPickle,
  kName,
  kPointer,
  kTorn,
  kLarge,
  kRegular,
  kFolder,
  kCase,
  kPortable,
  kConfig,
  kTokenizer
};

struct GuardFinding {
  const GuardRule* rule;
  std::string file;  // in the repository; empty where it is about the whole
  std::string message;
};
GuardFinding against(Rule rule, std::string file, std::string message);

}  // namespace mu
