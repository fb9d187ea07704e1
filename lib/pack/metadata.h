// SPDX-License-Identifier: Apache-2.0
// The metadata of the files that st-pack writes: the union of what its inputs say, with the changes that
// --metadata asks for.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/tied.h"
#include "pack/select.h"
#include "weights/weights.h"

namespace mu {

// A key with its value, or a key to drop; in the order given.
using MetadataChanges = std::vector<std::pair<std::string, std::optional<std::string>>>;

// The union of the metadata of all files and of the strings in the index. The first `format` counts. Lists of
// tensors' names (`tensor_names`, as torchao writes them) become one list. Throws kRefused for another key
// with two values that none of the changes settles.
Metadata output_metadata(const Weights& weights, const std::vector<TiedName>& dropped,
                         const std::vector<Rename>& rename, const MetadataChanges& changes);

}  // namespace mu
