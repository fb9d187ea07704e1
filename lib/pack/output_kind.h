// SPDX-License-Identifier: Apache-2.0
// What st-pack writes, by the name of the output.
#pragma once

#include <string>

#include "pack/plan.h"

namespace mu {

// "-" is a stream; ".safetensors" and ".npy" end the names of files; anything else is a folder. Throws kUsage for
// a name that ends as a file of another format does; a slash behind it makes it a folder's.
OutputKind output_kind(const std::string& output);

}  // namespace mu
