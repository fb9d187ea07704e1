// SPDX-License-Identifier: Apache-2.0
// Copies the small files that go along with the weights.
#pragma once

#include "os/file.h"

namespace mu {

// The whole file. One on another machine is compared with the SHA-256 that is known of it: throws kRemote if it has
// another.
void copy_gathered(const InputFile& source, OutputFile& copy);

}  // namespace mu
