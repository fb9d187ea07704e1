// SPDX-License-Identifier: Apache-2.0
// Removes a checkpoint in such a way that nothing else can go with it. Between the last look at a name and
// its rename somebody may put another checkpoint there. So what was renamed is compared again under its new
// name, which nobody else uses, and is put back if it is not the one that was judged.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "os/file.h"

namespace mu {

// What the entry was when its removal was decided.
struct Judged {
  FileId id;
  std::optional<std::int64_t> mtime_ns{};  // of the folder or file itself; nullopt: we have just changed it
};

// Called after `name` in `folder` was renamed to `to` in `to_folder`; `path` is for messages. If that is not
// the judged entry, puts it back and throws kTemporary; if the old name has been taken again, leaves it in
// `folder` under a visible name and throws kPartial, which says the name.
void require_judged(const Judged& judged, int folder, const std::string& name, const std::string& path,
                    int to_folder, const std::string& to);

// Renames back to `name`, or to the first free name of "kept-NAME", "kept-NAME.2" and so on. Returns the
// name.
std::string put_back(int from_folder, const std::string& from, int folder, const std::string& name,
                     const std::string& path);

// Renames an entry to a hidden name that records which one was judged. Returns that name. Throws kIo, and
// what require_judged() throws.
std::string hide(const Judged& judged, int folder, const std::string& name, const std::string& path);

// Throws if we may not write into an open folder: no permission, or a read-only file system.
void require_writable(int folder, const std::string& path);

// Throws if we could not remove an entry with everything in it: kPartial without permission, kRefused if
// something is mounted there. A look, not a promise.
void require_removable(int folder, const std::string& name, const std::string& path);

// Whether we may do what only the owner of a file may do.
bool may_act_as(uid_t owner);

}  // namespace mu
