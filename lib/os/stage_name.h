// SPDX-License-Identifier: Apache-2.0
// The names of stages: ".TARGET.mu-stage.HOST.BOOT.PID.START", ".TARGET.mu-aside.…" for what is being
// replaced and ".TARGET.mu-gone.…" for what is being deleted. They tell whether the process that made one can
// still be alive.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mu {

enum class StageKind : unsigned char { kStage, kAside, kGone };

// The name this process uses for a stage of a target called `target`, of which a kStage keeps 100 bytes.
std::string stage_name(std::string_view target, StageKind kind);

struct StageName {
  std::string target;
  StageKind kind;
  bool same_host;
  bool owner_alive;  // known only on the same host
};
// Reads such a name; nothing for any other.
std::optional<StageName> parse_stage_name(std::string_view name);

}  // namespace mu
