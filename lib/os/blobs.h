// SPDX-License-Identifier: Apache-2.0
// Stores whose files are named by the hash of their bytes (the blobs of a Hugging Face cache, of Ollama):
// whoever writes into such a file breaks every name that leads there. Only the names are known here, for the rule
// that no output goes there (os/stage.h); what a Hugging Face cache holds, model/hf_cache.h knows.
#pragma once

#include <string>
#include <string_view>

namespace mu {

// 40 or 64 lower-case hex digits: what git, or SHA-256, makes of the bytes.
bool is_blob_hash(std::string_view text);

// "models--OWNER--NAME" and its kin: a repository in the cache of the Hugging Face libraries.
bool is_cached_repo_name(std::string_view name);

// Whether a real path is such a store's folder "blobs", or lies below it.
bool lies_in_blobs(const std::string& real_path);

}  // namespace mu
