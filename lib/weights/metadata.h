// SPDX-License-Identifier: Apache-2.0
// The free-form texts that a file of weights carries beside its tensors.
#pragma once

#include <map>
#include <string>

namespace mu {

// Keys sorted bytewise, as we write them.
using Metadata = std::map<std::string, std::string>;

}  // namespace mu
