// SPDX-License-Identifier: Apache-2.0
// The names of stages: ".TARGET.mu-stage.HOST.BOOT.NAMESPACE.PID.START", ".TARGET.mu-aside.…" for what is
// being replaced and ".TARGET.mu-gone.…" for what is being deleted. A name tells whether the process that
// made it can still be alive, as far as that can be known: a process number means something only on its host
// and in its PID namespace (two containers may have the same host name). 0.1 did not name the namespace.
//
// The name of what is being deleted may end in ".DEVICE-INODE", the device and inode that were judged: only
// that file may be deleted, whatever else was renamed to the name.
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
  kElsewhere,  // on another host or in another PID namespace: it can't be known here
};

struct StageName {
  std::string target;
  StageKind kind = StageKind::kStage;
  StageOwner owner = StageOwner::kElsewhere;
  std::optional<FileId> judged{};
};
// Reads such a name; nothing for any other.
std::optional<StageName> parse_stage_name(std::string_view name);

// This machine, as a text without blanks and dots: its name, and its boot, which is another after the next start and the
// same in all containers. "unknown" where the system does not say.
std::string this_host();
std::string this_boot();

// For how many seconds the stage of an owner elsewhere is taken to be in use: a day, to be safe.
inline constexpr std::int64_t kForeignStageAge = std::int64_t{24} * 60 * 60;

}  // namespace mu
