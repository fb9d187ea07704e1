// SPDX-License-Identifier: Apache-2.0
// The rules about what should not be published, and findings against them. Some rules stop a push, some only
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
  std::string file;  // in the repository; empty if the finding is about all files
  std::string message;
};
GuardFinding against(Rule rule, std::string file, std::string message);

}  // namespace mu
