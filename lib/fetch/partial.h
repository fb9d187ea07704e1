// SPDX-License-Identifier: Apache-2.0
// The partial output of a run that may be killed and continued: a folder beside the output, "OUT.partial", or in it
// where OUT is a mount point. It is the one thing that a killed process leaves behind on purpose:
//
//   lock     the holder has a lock of the kernel on it
//   record   the identity of the work, who holds it, and a line for each step that is on the disk
//   ID/      the work itself; its name is a random number, so that who still works on what was deleted finds nothing
//
// Whose it is: the holder touches the record every 30 seconds. A second run takes it over if the record was not touched
// for two minutes, from any host or namespace; at once, if the holder ended by itself, or was on this kernel (the record
// names its boot) and the lock is free. Until then it ends with kTemporary. Times are those of the file system alone.
// A holder that was taken over notices when it next touches the record or notes a step, and ends (kTemporary).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

class PartialOutput {
 public:
  // Claims the partial output of `target`, which real_target() made. One of the same `identity` is continued, unless
  // `fresh`; any other is deleted first. `identity` is kept in plain text: it holds no secrets. Throws kTemporary while
  // another run holds it, kRefused for what no run of this user made under that name.
  PartialOutput(const std::string& target, const std::string& identity, bool fresh);
  PartialOutput(const PartialOutput&) = delete;
  PartialOutput& operator=(const PartialOutput&) = delete;
  ~PartialOutput();  // gives it up and leaves it on the disk

  [[nodiscard]] const std::string& path() const;  // of the folder in it that is for the work; it exists
  // What earlier runs noted, in order, without a last line that was cut; empty for a new one.
  [[nodiscard]] const std::vector<std::string>& lines() const;
  // Adds a line without line breaks to the record and syncs that. What it speaks of must be synced before; what it makes
  // superfluous may be removed once this returns, not before. Thread safe. Throws kTemporary if another run has taken
  // over.
  void note(std::string_view line);
  // Throws kTemporary if another run has taken over. Call it before the output is put in place.
  void require_held() const;
  // Throws kIo unless there is room for a work of `bytes` in all, counting what is written already.
  void require_room(std::uint64_t bytes) const;
  // Deletes the work and its lines, for one whose files are not what its lines say.
  void restart();
  [[nodiscard]] std::uint64_t bytes() const;  // of the work on the disk, now
  void remove();                              // all of it, if no other run has taken over

  // Throws as the constructor would now, and touches nothing: asked before a model is looked at for minutes.
  static void require_free(const std::string& target);
  // Where the partial output of `target` is: "OUT.partial".
  static std::string path_of(const std::string& target);
  // Whether a folder is one, of any output. Never throws for what can't be read.
  static bool is_one(const std::string& path);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// For how long a lock that another process has is waited for, instead of 2 s; for tests.
void wait_for_locks_for_tests(std::chrono::milliseconds patience);

}  // namespace mu
