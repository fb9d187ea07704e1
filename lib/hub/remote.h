// SPDX-License-Identifier: Apache-2.0
// Models that are read where they lie, by ranges: places on a hub and URLs, mounted through os/far.h.
// A repository costs a look-up, a listing, and a request a weights file for its header, all at once over one
// pool of connections. Source: huggingface_hub 2.4.0 (hf_api.py, parse_safetensors_file_metadata).
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "hub/repo.h"
#include "hub/session.h"

namespace mu {

// SHA-256 of files in LFS as the hub tells it, by full name ("hf://owner/name/model.safetensors").
using RemoteHashes = std::map<std::string, std::string>;

// Hangs in the repository of `text` (an hf:// name), or the one file of a URL, under the name as it is
// written. Throws as HubSession does; kRemote for servers that know no ranges.
RemoteHashes hang_in_remote(HubSession& session, std::string_view text, unsigned jobs);

// The same from a cache folder of the Hugging Face libraries, without a network. Throws kIo where the cache
// does not have it.
void hang_in_cached(const std::string& cache_folder, const RemotePlace& place);

}  // namespace mu
