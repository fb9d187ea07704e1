// SPDX-License-Identifier: Apache-2.0
// Parts of a push (--part): each stores the bytes of its files and commits nothing. Storage is addressed by
// content, so the run that commits finds them there. Parts leave their hashes beside the journal of the whole
// push, so that the last run does not read everything again if it sees the same folder. The unit is a file.
#pragma once

#include <string>

#include "base/part.h"
#include "hub/files.h"
#include "hub/hashes.h"

namespace mu {

// The files of one part, balanced by size. Only the first part reports what was left out.
FileChoice part_of(const FileChoice& choice, const Part& part);

// The path of a part's journal, beside that of the whole push: parts may run at the same time.
std::string part_journal_path(const std::string& journal, const Part& part);

// Makes `cache` save what it knows about these files beside the journal instead of in the user's table, which
// parts that run at the same time would overwrite in turn.
void leave_part_hashes(HashCache& cache, const std::string& journal, const FileChoice& own, const Part& part);
// Takes over the hashes that parts left.
void adopt_part_hashes(HashCache& cache, const std::string& journal, const FileChoice& choice);
// Removes them.
void remove_part_hashes(const std::string& journal);

}  // namespace mu
