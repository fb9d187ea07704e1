// SPDX-License-Identifier: Apache-2.0
// What the user wants to keep. Rules add up: a checkpoint stays if any of them keeps it. Only complete
// checkpoints count towards a number.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "os/file.h"

namespace mu {

enum class TornAction : std::uint8_t {
  kKeep,
  kRemove,
  kAside,  // rename it so that no trainer finds it
};

// One checkpoint that the user named, in any of these ways.
struct Pin {
  std::optional<std::uint64_t> number;
  std::string name;
  std::optional<FileId> id;
};

// The contents of another run folder whose steps are kept here too.
struct Followed {
  std::string path;
  std::vector<std::uint64_t> steps;  // ascending
  std::vector<std::string> names;    // of checkpoints without a number
};

struct Policy {
  std::optional<std::uint64_t> keep_last;
  std::optional<std::uint64_t> keep_best;
  std::optional<std::uint64_t> keep_every;  // steps
  bool keep_epochs = false;                 // the last of each epoch
  std::optional<std::uint32_t> keep_within_seconds;
  std::vector<std::uint64_t> keep_steps;
  std::optional<Followed> follow;
  std::optional<std::uint64_t> keep_optimizer_last;
  std::optional<std::uint64_t> max_total, min_free;  // bytes
  TornAction torn = TornAction::kKeep;
  std::uint32_t torn_age_seconds = 3600;
  std::vector<Pin> pins;
  bool allow_unresumable = false;

  // Without such a rule every complete checkpoint stays, unless limits or slimming take it.
  [[nodiscard]] bool has_keep_rule() const {
    return keep_last || keep_best || keep_every || keep_epochs || keep_within_seconds ||
           !keep_steps.empty() || follow;
  }
  // True if this policy can never change anything.
  [[nodiscard]] bool is_empty() const {
    return !has_keep_rule() && !keep_optimizer_last && !max_total && !min_free && torn == TornAction::kKeep;
  }
};

// Reads the argument of "--pin": a step, or the path of a checkpoint, or of a file that lists steps and
// names, one a line, with comments after '#'. Throws kIo if there is no such file.
std::vector<Pin> parse_pin(const std::string& text);
// A step or a name.
Pin pin_of(std::string_view word);

}  // namespace mu
