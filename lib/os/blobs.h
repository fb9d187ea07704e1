// SPDX-License-Identifier: Apache-2.0
// Stores whose files are named by the hash of their bytes (the blobs of a Hugging Face cache, of Ollama):
// whoever writes into such a file breaks every name that leads there.
#pragma once

#include <string>

namespace mu {

// Whether a real path is such a store's folder "blobs", or lies below it.
bool lies_in_blobs(const std::string& real_path);

}  // namespace mu
