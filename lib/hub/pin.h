// SPDX-License-Identifier: Apache-2.0
// The commit at which several runs read a repository, in a file that they share (os/parts.h): the first of them that
// writes it decides, and the others need no look-up, no listing, and no request for the headers of files of which they
// read nothing else.
//
//   OUT.parts/pinned.KEY   "modelutils.pin/1 N\n"; N bytes of JSON: commit and files, each with its size and how many
//                          of its first bytes are kept; then these bytes, one file after the other
//
// KEY is made of repository and revision, as they were asked for.
#pragma once

#include <optional>
#include <string>

#include "hub/remote.h"

namespace mu {

// The path of the file in `folder`.
std::string pin_path(const std::string& folder, const RemotePlace& place);

// Nothing if that file does not exist. Throws kRefused if it is not a pin.
std::optional<PinnedRepo> read_pin(const std::string& path, const RemotePlace& place);

// Makes the folder and writes the pin of a repository that is mounted, with the first bytes that were fetched. False
// if another run was first.
bool write_pin(const std::string& path, const PinnedRepo& repo);

}  // namespace mu
