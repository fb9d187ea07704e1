// SPDX-License-Identifier: Apache-2.0
// Which files is a process on this machine writing right now? Asks /proc, as far as we may read it.
#pragma once

#include <sys/types.h>

#include <map>
#include <set>
#include <string>

#include "os/file.h"

namespace mu {

// The files on these devices that another process has open for writing, each with the id of one such process.
// Files are compared by device and inode, since a process in another mount namespace (a container) sees other
// paths.
std::map<FileId, std::string> find_open_files(const std::set<dev_t>& devices);

}  // namespace mu
