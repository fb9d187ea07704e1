// SPDX-License-Identifier: Apache-2.0
// Which request goes where. Names of routes, as faults and the log use them:
//   whoami create delete move validate-yaml complete info auth-check branch tag refs commits preupload commit
//   discussions paths-info tree xet-token batch verify resolve resolve-cache unknown; storage-put
//   storage-get file-get; admin.
#pragma once

#include <string>
#include <vector>

#include "hub.h"

namespace hub {

// Fills route, type, id and rest of a call from the raw target, whose segments are decoded one by one, so
// that %2F does not divide. The route is "unknown" where there is none.
void find_route(Call& call);

// Runs the handler: authentication, the repository (307 to its true spelling), method, access. Throws
// Refusal.
Answer run_route(Call& call);

// What listens on the two ports.
Answer serve_hub(Hub& hub, Request& request);
Answer serve_storage(Hub& hub, Request& request);

// Handlers, a file each group: api_repo, api_files, api_preupload, api_lfs, api_commit, api_discussion,
// admin.
Answer whoami(Call& call);
Answer create_repo(Call& call);
Answer delete_repo(Call& call);
Answer move_repo(Call& call);
Answer repo_info(Call& call);
Answer auth_check(Call& call);
Answer create_branch(Call& call);
Answer delete_branch(Call& call);
Answer create_tag(Call& call);
Answer delete_tag(Call& call);
Answer list_refs(Call& call);
Answer list_commits(Call& call);
Answer validate_yaml(Call& call);
Answer xet_token(Call& call);
Answer list_tree(Call& call);
Answer paths_info(Call& call);
Answer resolve(Call& call);
Answer preupload(Call& call);
Answer lfs_batch(Call& call);
Answer lfs_verify(Call& call);
Answer lfs_complete(Call& call);
Answer create_commit(Call& call);
Answer create_discussion(Call& call);
Answer show_discussion(Call& call);
Answer change_discussion(Call& call);
Answer admin(Hub& hub, Request& request);

// Errors in the front matter of a README; see api_repo.cc for the marks that make it wrong.
struct CardFindings {
  std::vector<std::string> errors, warnings;
};
CardFindings check_card(const std::string& content);
// Opens a pull request on `base` and returns its number.
std::uint64_t open_pull_request(Call& call, const std::string& base, const std::string& base_commit,
                                const std::string& title, const std::string& description);
// One PUT or GET on the storage port. Throws Refusal.
Answer storage_put(Hub& hub, Request& request, const std::string& path, const Query& query,
                   const std::optional<Fault>& fault);
Answer storage_get(Hub& hub, Request& request, const std::string& path, const Query& query,
                   const std::optional<Fault>& fault);
// Plain files at /_files/NAME of the storage port.
Answer put_plain(Hub& hub, Request& request, const std::string& name, const Query& query);
Answer get_plain(Hub& hub, Request& request, const std::string& name, std::optional<Fault> fault);

}  // namespace hub
