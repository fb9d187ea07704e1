// SPDX-License-Identifier: Apache-2.0
// Taking a checkpoint away so that nothing else can go with it. Between the last look at a name and its
// rename somebody may put another checkpoint there; so what was renamed is looked at again under its new
// name, which nobody else uses, and put back where it is not the one that was judged.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "os/file.h"

namespace mu {

// What was looked at when it was decided that it goes.
struct Judged {
  FileId id;
  std::optional<std::int64_t> mtime_ns{};  // of the folder or file itself; nothing: we have just changed it
};

// After a rename of `name` in `folder` (its path is for messages) to `to` in `to_folder`: where that is not
// the judged one, puts it back and throws kTemporary, or kPartial where the name was taken again and it is
// left in `folder` under a visible one, which is named.
void require_judged(const Judged& judged, int folder, const std::string& name, const std::string& path,
                    int to_folder, const std::string& to);

// Renames back to `name`, or to the first free one of "kept-NAME", "kept-NAME.2" and so on. Returns the name.
std::string put_back(int from_folder, const std::string& from, int folder, const std::string& name,
                     const std::string& path);

// Renames an entry to a hidden name that says which one was judged, and returns that. Throws kIo, and as
// require_judged().
std::string hide(const Judged& judged, int folder, const std::string& name, const std::string& path);

// Throws where we could not write into an open folder: no permission, a read-only file system.
void require_writable(int folder, const std::string& path);

// Throws where an entry of a folder could not be removed by us, with all that is in it: kPartial without
// permission, kRefused where something is mounted. A look, no promise.
void require_removable(int folder, const std::string& name, const std::string& path);

// Whether we may do what only the owner of a file may.
bool may_act_as(uid_t owner);

}  // namespace mu
