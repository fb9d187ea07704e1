// SPDX-License-Identifier: Apache-2.0
// The partial output of a run that may be killed and continued: a folder beside the output, "OUT.partial", or in it
// where OUT is a mount point. It holds what was written, and a record: the identity of the work, then a line for each
// step that is on the disk. It is the one thing that a killed process leaves behind on purpose.
//
// Whose it is: the holder has a lock of the kernel on it and touches the record every 30 seconds. A second run takes it
// over if the record was not touched for two minutes, from any host or namespace; at once, if the holder was on this
// kernel (the record names its boot id) and the lock is free. Until then it ends with kTemporary. Times are those of
// the file system alone. A holder that was taken over notices when it next touches the record, and ends (kTemporary).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

class PartialOutput {
 public:
  // Claims the partial output of `target`, which real_target() made. One of the same `identity` is continued, unless
  // `fresh`; any other is deleted first. Throws kTemporary while another run holds it, kRefused for a folder of that
  // name that no run made.
  PartialOutput(const std::string& target, const std::string& identity, bool fresh);
  PartialOutput(const PartialOutput&) = delete;
  PartialOutput& operator=(const PartialOutput&) = delete;
  ~PartialOutput();  // gives it up and leaves it on the disk

  [[nodiscard]] const std::string& path() const;  // of the folder
  // What earlier runs noted, in order, without a last line that was cut; empty for a new one.
  [[nodiscard]] const std::vector<std::string>& lines() const;
  // Adds a line without line breaks to the record. What it speaks of must be synced before. Thread safe. Throws
  // kTemporary if another run has taken over.
  void note(std::string_view line);
  [[nodiscard]] std::uint64_t bytes() const;  // on the disk, now
  void remove();                              // the folder and all in it

  // Where the partial output of `target` is.
  static std::string path_of(const std::string& target);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mu
