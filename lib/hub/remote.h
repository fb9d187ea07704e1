// SPDX-License-Identifier: Apache-2.0
// Models that are read where they are, by ranges: places on a hub, and URLs, are mounted by os/far.h. A
// repository costs a look-up, a listing, and for each weights file a request for its header; these run at the
// same time over one pool of connections. Source: huggingface_hub 2.4.0 (hf_api.py,
// parse_safetensors_file_metadata).
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "hub/repo.h"
#include "hub/session.h"

namespace mu {

// SHA-256 of files in LFS as the hub reports it, by full name ("hf://owner/name/model.safetensors").
using RemoteHashes = std::map<std::string, std::string>;

// Mounts the repository of `text` (an hf:// name), or the one file of a URL, under the name as it is written.
// Throws as HubSession does, and kRemote for servers that can't send ranges.
RemoteHashes mount_remote(HubSession& session, std::string_view text, unsigned jobs);

// Mounts the same from a cache folder of the Hugging Face libraries, without a network. Throws kIo if the
// cache does not have it.
void mount_cached(const std::string& cache_folder, const RemotePlace& place);

}  // namespace mu
