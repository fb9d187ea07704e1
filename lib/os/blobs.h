// SPDX-License-Identifier: Apache-2.0
// Stores whose files are named by the hash of their bytes (the blobs of a Hugging Face cache, of Ollama).
// Writing into such a file breaks every name that leads to it. Only the names are known here, for the rule that
// no output goes there (os/stage.h); model/hf_cache.h knows what a Hugging Face cache holds.
#pragma once

#include <string>
#include <string_view>

namespace mu {

// 40 or 64 lower-case hex digits: a git id or a SHA-256.
bool is_blob_hash(std::string_view text);

// "models--OWNER--NAME" and its kin: a repository in the cache of the Hugging Face libraries.
bool is_cached_repo_name(std::string_view name);

// Whether a real path is such a store's folder "blobs", or lies below it.
bool lies_in_blobs(const std::string& real_path);

}  // namespace mu
