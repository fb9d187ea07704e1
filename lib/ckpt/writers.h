// SPDX-License-Identifier: Apache-2.0
// Which files does a process of this machine write to right now? Asked of /proc, as far as it shows.
#pragma once

#include <sys/types.h>

#include <map>
#include <set>
#include <string>

#include "os/file.h"

namespace mu {

// Files on these devices that another process has open for writing, each with the number of one such process.
// They are told by device and inode, since a process in another mount namespace (a container) has other
// paths.
std::map<FileId, std::string> find_open_files(const std::set<dev_t>& devices);

}  // namespace mu
