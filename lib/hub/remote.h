// SPDX-License-Identifier: Apache-2.0
// Models that are read where they are, by ranges: places on a hub, and URLs, are mounted by os/far.h. A
// repository costs a look-up, a listing, and for each weights file a request for its header; these run at the
// same time over one pool of connections. Everything is read at the commit of the look-up. Source: huggingface_hub 2.4.0 (hf_api.py,
// parse_safetensors_file_metadata).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "hub/repo.h"
#include "hub/repo_facts.h"
#include "hub/session.h"
#include "os/far.h"

namespace mu {

// SHA-256 of files in LFS as the hub reports it, by full name ("hf://owner/name/model.safetensors").
using RemoteHashes = std::map<std::string, std::string>;

// A repository at one commit, and what is in it.
struct PinnedRepo {
  RemotePlace place;
  std::string commit;
  std::vector<RemoteFile> files;
  std::map<std::string, std::string> heads{};  // first bytes of files, by path, that need not be fetched
};

// Looks the revision up, unless its `commit` is known already, and lists the files. Throws as HubSession does, and
// kRemote for what is not there.
PinnedRepo pin_repo(HubSession& session, const RemotePlace& place, std::string commit = {});

// A mounted file of it, without a way to read it: name, size, and what its bytes are held to.
FarFile far_file_of(const PinnedRepo& repo, const RemoteFile& file);

// Mounts it under the name of its place, with the headers of the weights that the place shows.
RemoteHashes mount_repo(HubSession& session, const PinnedRepo& repo, unsigned jobs);

// Mounts the one file of a URL under the name as it is written. Returns what there is to say where its bytes can't be
// verified, else nothing: a server that gives neither hash nor strong entity tag. Throws kRemote for servers that can't
// send ranges.
std::string mount_url(HubSession& session, const std::string& url);

// Mounts a repository from a cache folder of the Hugging Face libraries, without a network. Throws kIo if the
// cache does not have it.
void mount_cached(const std::string& cache_folder, const RemotePlace& place);

}  // namespace mu
