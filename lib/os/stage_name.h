// SPDX-License-Identifier: Apache-2.0
// The names of stages: ".TARGET.mu-stage.HOST.BOOT.NAMESPACE.PID.START", ".TARGET.mu-aside.…" for what is
// being replaced and ".TARGET.mu-gone.…" for what is being deleted. They tell whether the process that made
// one can still be alive, as far as that can be told: a number of a process means something only on its host
// and in its PID namespace (two containers may share the name of the host). 0.1 did not name the namespace.
//
// What is being deleted may carry the device and inode that were judged, as a last part ".DEVICE-INODE": only
// that one may go, whatever was renamed to the name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "os/file.h"

namespace mu {

enum class StageKind : std::uint8_t { kStage, kAside, kGone };

// The name this process uses for a stage of a target called `target`, which is cut where it would not fit.
std::string stage_name(std::string_view target, StageKind kind, std::optional<FileId> judged = {});

enum class StageOwner : std::uint8_t {
  kAlive,
  kEnded,
  kElsewhere,  // on another host or in another PID namespace: nobody here can tell
};

struct StageName {
  std::string target;
  StageKind kind = StageKind::kStage;
  StageOwner owner = StageOwner::kElsewhere;
  std::optional<FileId> judged{};
};
// Reads such a name; nothing for any other.
std::optional<StageName> parse_stage_name(std::string_view name);

// How long, in seconds, the stage of an owner elsewhere is taken to be at work.
inline constexpr std::int64_t kForeignStageAge = std::int64_t{24} * 60 * 60;

}  // namespace mu
