// SPDX-License-Identifier: Apache-2.0
// Shares of a push (--part): each stores its files' bytes and commits nothing; storage is addressed by
// content, so the run that commits finds them there. Shares leave their hashes beside the journal of the
// whole push, for that run not to read everything again when it sees the same folder. The unit is a file.
#pragma once

#include <string>

#include "base/part.h"
#include "hub/files.h"
#include "hub/hashes.h"

namespace mu {

// The files of one share, balanced by size; what was left out is told by the first share alone.
FileChoice share_of(const FileChoice& choice, const Share& part);

// The journal of one share, beside that of the whole push: shares of one user may run at the same time.
std::string share_journal_path(const std::string& journal, const Share& part);

// Makes `cache` save what it knows of these files beside the journal instead of in the user's table, which
// shares at work at the same time would take turns to overwrite.
void leave_share_hashes(HashCache& cache, const std::string& journal, const FileChoice& share,
                        const Share& part);
// Takes what shares left there.
void adopt_share_hashes(HashCache& cache, const std::string& journal, const FileChoice& choice);
// Removes it.
void remove_share_hashes(const std::string& journal);

}  // namespace mu
