// SPDX-License-Identifier: Apache-2.0
// The repositories that a run reads, each at one commit: that of a look-up, or that which the other parts of the work
// pinned (pin.h). They are mounted from the hub, or from a snapshot of this commit (snapshot.h) if that has all that is
// read.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "hub/remote.h"
#include "hub/session.h"

namespace mu {

class Repositories {
 public:
  struct Options {
    bool models = false;       // places are models: weights are looked for
    std::string cache{};       // folder of the libraries with snapshots; empty: none is used
    std::string pins{};        // folder with the pins of other parts; empty: none
    bool writes_pins = false;  // there, for the others
    std::function<void(const std::string&)> note{};  // called with what the user should know
  };
  void set(Options options) { options_ = std::move(options); }

  // Mounts a place; each repository is looked up once.
  RemoteHashes mount(HubSession& session, const RemotePlace& place, unsigned jobs);
  // Mounts a place from a cache folder, without a network.
  void mount_offline(const std::string& cache_folder, RemotePlace place);

  // After SnapshotLacks: unmounts what came from snapshots. From now on they are not used.
  void drop_snapshots();
  // Says which snapshots were used, if that has not been said.
  void report_snapshots();
  // The work failed: removes the pins that this run wrote, unless other parts have come to lie beside them.
  void remove_pins() const;

 private:
  PinnedRepo& pinned(HubSession& session, const RemotePlace& place);
  bool mount_near(const PinnedRepo& repo);
  bool share(const PinnedRepo& repo);

  Options options_;
  std::map<std::string, PinnedRepo> repos_;                // by pin_key()
  std::set<std::pair<std::string, std::string>> mounted_;  // name and path
  std::map<std::string, std::string> near_;  // names that are mounted from a snapshot, and its folder
  std::set<std::string> reported_;           // of them
  std::vector<std::string> written_;         // pins
};

}  // namespace mu
