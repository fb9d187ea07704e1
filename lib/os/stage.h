// SPDX-License-Identifier: Apache-2.0
// Output that appears whole or not at all. A file or a folder is written beside its target under a name that
// says which process writes it, synced, and renamed into place. What a killed process leaves is recognised by
// that name and removed by the next run; locks alone are not trusted, since network file systems may not
// carry them.
//
// A stage may have a lasting place instead, in a partial output (fetch/partial.h): it stays there until it is committed,
// and a later process goes on with it.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "os/file.h"
#include "os/replace_folder.h"

namespace mu {

// In a mount point, the folder of what is not put in place yet (fetch/partial.h). It does not count as something in it.
inline constexpr std::string_view kPartialInside = ".partial";

// One file. Without `force` a target that exists is refused, at the start and again at the end.
class StagedFile {
 public:
  // Throws kRefused or kIo before anything is written. `lasting`: the path of a lasting place on the same file system; what
  // an earlier process wrote there is still in it.
  StagedFile(const std::string& target, bool force, const std::string& lasting = "");
  StagedFile(const StagedFile&) = delete;
  StagedFile& operator=(const StagedFile&) = delete;
  ~StagedFile();

  [[nodiscard]] OutputFile& file() { return file_; }
  // Syncs and puts the file in place. It takes over the mode of the file it replaces, but setuid and setgid
  // only if owner and group are the same.
  void commit();

 private:
  std::string target_, stage_;
  bool force_, lasts_, committed_ = false;
  OutputFile file_;
};

// A folder of files. Without `force` only a missing or empty target is accepted.
class StagedFolder {
 public:
  // `lasting`: as of StagedFile, the path of a folder, which need not exist.
  StagedFolder(const std::string& target, bool force, const std::string& lasting = "");
  StagedFolder(const StagedFolder&) = delete;
  StagedFolder& operator=(const StagedFolder&) = delete;
  ~StagedFolder();

  // A new file; `name` is relative and never leads out. Sync it when it is written.
  OutputFile create(const std::string& name);
  // The same in a lasting place, but if an earlier process wrote that file it has what is in it still.
  OutputFile reopen(const std::string& name);
  // Where a file of that name lies until the folder is in place.
  [[nodiscard]] std::string path_of(const std::string& name) const;
  // Carries a file of the old folder over (a hard link, a copy where links are refused).
  void keep(const std::string& name);
  // The same for a finished file from elsewhere, which stays there.
  void adopt(const std::string& path, const std::string& name);
  // Removes what an earlier process left in a lasting place and this one did not name. Then puts the folder in place of
  // the old one in one step (renameat2 EXCHANGE). Where the file system can't,
  // the old one is renamed aside first; a kill between the two renames is undone by the next run. A target
  // that is a mount point keeps its place: the files are renamed into it one by one, the last created last.
  // From the old folder it removes what lay there when this object was made: the names in `removed`, and
  // those newly written or kept. What appeared or changed since then moves into the new one if its name is
  // free; else it throws kPartial and the old folder stays beside the new one, as "TARGET.old"
  // (replace_folder.h).
  void commit(const std::vector<std::string>& removed);
  // Puts the folder in place, or gives it up if the target exists by now and is not empty. True when it was put
  // in place.
  bool commit_if_first();

 private:
  [[nodiscard]] std::string own_place() const;
  void prepare(const std::string& name);
  void remove_unnamed(const std::string& prefix);
  void leave_lasting();
  void commit_in_place(const std::vector<std::string>& removed);
  std::string exchange();
  [[nodiscard]] std::set<std::string> our_names(const std::vector<std::string>& removed) const;

  std::string target_, stage_;
  bool in_place_ = false;  // target is a mount point: the stage lies in it
  bool force_, lasts_, committed_ = false;
  Inventory planned_;  // of the old folder, when it is to be replaced
  std::vector<std::string> created_, kept_;
};

// Where a target really lies: its own name without trailing slashes, or what it links to. A link to a blob of
// a cache counts as the target itself, because the link is to be replaced, not the blob. Throws kIo, and
// kRefused for what lies among blobs (blobs.h).
std::string real_target(const std::string& target);

// Throws kRefused where StagedFolder would: `target` exists and is not a folder, or it holds something and
// `force` is not given.
void require_free_folder(const std::string& target, bool force);

// Removes what killed runs left in `folder`, and brings back a folder that one had renamed aside. Called by
// the constructors above.
void clean_stale_stages(const std::string& folder);

// Makes StagedFolder behave as on a file system without RENAME_EXCHANGE; for tests.
void disable_exchange_for_tests(bool disabled);

}  // namespace mu
