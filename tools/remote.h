// SPDX-License-Identifier: Apache-2.0
// How programs reach models that are not on this machine.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "base/error.h"
#include "cli/app.h"
#include "hub/remote.h"
#include "model/input.h"
#include "weights/weights.h"

namespace mu {

// How it is done from now on: set before anything is reached.
void set_remote_options(const RemoteOptions& options);

struct Reaching {
  std::string pins{};        // the folder in which parts of one work agree on commits (hub/pin.h), or empty
  bool writes_pins = false;  // this run adds its own
  bool once = false;         // the work can't be begun again
};

// Does the work of a program that writes. Repositories may be read from a snapshot in the cache of the libraries;
// where that turns out to lack a file, the work is begun again, without it.
int reaching(const Reaching& how, const std::function<int()>& work);

// Makes an hf:// name or URL readable like a local path, and returns the name to read it by: the hf:// name
// for the address of a repository's page on the hub, any other operand as it is. With HF_HUB_OFFLINE the
// libraries' cache is read instead. Throws as pin_repo, mount_url and mount_cached do.
std::string reach(const std::string& operand);

// Throws kUsage if OUT is a name of another machine: programs that write don't publish.
void require_output_here(const std::string& output);

// "hf://owner/name" for a missing path that could be the name of a repository.
std::optional<std::string> name_on_hub(const std::string& path);

// Calls `open`, which opens the operand, and adds a hint to the error for a missing path that looks like a
// repository.
template <typename Open>
auto with_hub_hint(const std::string& operand, const Open& open) -> decltype(open()) {
  try {
    return open();
  } catch (Error& error) {
    if (error.kind() != ErrorKind::kIo) throw;
    if (const std::optional<std::string> name = name_on_hub(operand))
      error.hint("to read it from the hub, write " + *name);
    throw;
  }
}

// Reaches and opens an operand, with that hint.
Input open_operand(const std::string& operand, StreamData data, const FolderOptions& options = {});

// Pairs of files, one of A and one of B, that are the same by SHA-256, if the hub that has one of
// them reports it: then nothing has to be read there. Local files are hashed if a hub has one of the same size.
std::set<std::pair<std::size_t, std::size_t>> same_files(const Weights& a, const Weights& b);

}  // namespace mu
