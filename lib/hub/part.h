// SPDX-License-Identifier: Apache-2.0
// Parts of a push (--part): each stores its files' bytes and commits nothing; storage is addressed by
// content, so the run that commits finds them there. Parts leave their hashes beside the journal of the
// whole push, for that run not to read everything again when it sees the same folder. The unit is a file.
#pragma once

#include <string>

#include "base/part.h"
#include "hub/files.h"
#include "hub/hashes.h"

namespace mu {

// The files of one part, balanced by size; what was left out is reported by the first part alone.
FileChoice part_of(const FileChoice& choice, const Part& part);

// The journal of one part, beside that of the whole push: parts of one user may run at the same time.
std::string part_journal_path(const std::string& journal, const Part& part);

// Makes `cache` save what it knows of these files beside the journal instead of in the user's table, which
// parts at work at the same time would take turns to overwrite.
void leave_part_hashes(HashCache& cache, const std::string& journal, const FileChoice& own, const Part& part);
// Takes what parts left there.
void adopt_part_hashes(HashCache& cache, const std::string& journal, const FileChoice& choice);
// Removes it.
void remove_part_hashes(const std::string& journal);

}  // namespace mu
