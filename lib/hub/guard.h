// SPDX-License-Identifier: Apache-2.0
// What should not be published, looked for before the first byte goes out: secrets, pickles that run code,
// weights that are not whole, names that a hub refuses. A table of rules; some stop a push, some only warn.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/files.h"

namespace mu {

struct GuardRule {
  std::string_view id;  // for --allow
  bool stops;
  std::string_view about;
};
// All rules, in the order of the manual.
const std::vector<GuardRule>& guard_rules();

struct GuardFinding {
  const GuardRule* rule;
  std::string file;  // in the repository; empty where it is about the whole
  std::string message;
};

// Looks at the files: text files for secrets, pickles and weights by their headers. Never at more than
// 10 MiB of a file; small ones `jobs` at a time. Throws kIo for a file that can't be read.
std::vector<GuardFinding> guard_files(const FileChoice& choice, bool is_model, unsigned jobs);

// Warns of each finding that stops nothing or is `allowed` by its id. Throws kRefused for the others.
void enforce_guard(const std::vector<GuardFinding>& findings, const std::vector<std::string>& allowed,
                   const std::function<void(const std::string&)>& warning);

// A regular file that is too large for git; known when the hub has said how it stores it.
GuardFinding too_large_for_git(const std::string& file, std::uint64_t size);
constexpr std::uint64_t kMaxRegularFile = 10ULL << 20;  // bytes, the Hub's

}  // namespace mu
