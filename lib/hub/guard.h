// SPDX-License-Identifier: Apache-2.0
// What should not be published, looked for before the first byte goes out: secrets, links that lead
// elsewhere, pickles that run code, weights that are not whole, names that are refused. A table of rules.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "hub/files.h"
#include "hub/guard_rules.h"
#include "hub/hashes.h"

namespace mu {

// How much of a file is searched for secrets.
constexpr std::uint64_t kSearched = 16ULL << 20;  // bytes

// Looks at the files: everything but weights for secrets, pickles and weights by their headers; up to
// kSearched of each, several at a time. A file that `cache` knows to be clean is not searched again. `detail`
// is told which were not searched to their end. Throws kIo for a file that can't be read.
std::vector<GuardFinding> guard_files(const FileChoice& choice, bool is_model, unsigned jobs,
                                      HashCache& cache,
                                      const std::function<void(const std::string&)>& detail);

// A push that was refused for what its files are: other files may pass.
class FilesRefused : public Error {
 public:
  using Error::Error;
};

// Warns of each finding that stops nothing or is `allowed` by its id. Throws FilesRefused for the others.
void enforce_guard(const std::vector<GuardFinding>& findings, const std::vector<std::string>& allowed,
                   const std::function<void(const std::string&)>& warning);

// A regular file that is too large for git; known when the hub has said how it stores it.
GuardFinding too_large_for_git(const std::string& file, std::uint64_t size);

// What is found in one file, by its name and content.
std::vector<GuardFinding> guard_file(const LocalFile& file, HashCache& cache,
                                     const std::function<void(const std::string&)>& detail);
// What is found in the names of all together.
std::vector<GuardFinding> guard_names(const FileChoice& choice, bool is_model);

}  // namespace mu
