// SPDX-License-Identifier: Apache-2.0
// Looks for what should not be published before the first byte goes out: secrets, links that lead elsewhere,
// pickles that run code, weights that are incomplete, names that are refused. The rules are a table
// (guard_rules.h).
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

// Checks the files, several at a time: pickles and weights by their headers, and all but weights for secrets,
// up to kSearched bytes of each. A file that `cache` knows to be clean is not searched again. `detail` is
// called with the files that were not searched to their end. Throws kIo for a file that can't be read.
std::vector<GuardFinding> guard_files(const FileChoice& choice, bool is_model, unsigned jobs,
                                      HashCache& cache,
                                      const std::function<void(const std::string&)>& detail);

// A refusal because of the files themselves: a push of other files may pass.
class FilesRefused : public Error {
 public:
  using Error::Error;
};

// Warns about findings that don't stop a push or are `allowed` by their id. Throws FilesRefused for the
// others.
void enforce_guard(const std::vector<GuardFinding>& findings, const std::vector<std::string>& allowed,
                   const std::function<void(const std::string&)>& warning);

// The finding for a file that the hub keeps in git although it is too large for that.
GuardFinding too_large_for_git(const std::string& file, std::uint64_t size);

// The findings about one file, by its name and content.
std::vector<GuardFinding> guard_file(const LocalFile& file, HashCache& cache,
                                     const std::function<void(const std::string&)>& detail);
// The findings about the names of all files together.
std::vector<GuardFinding> guard_names(const FileChoice& choice, bool is_model);

}  // namespace mu
