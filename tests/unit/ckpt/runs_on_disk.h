// SPDX-License-Identifier: Apache-2.0
// Runs on disk for tests: copies of a real checkpoint under other steps, and what ckpt-prune makes of them.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ckpt/execute.h"
#include "ckpt/plan.h"
#include "ckpt/planner.h"
#include "ckpt/scan.h"
#include "testing.h"

namespace mu::testing {

inline const std::string kRealCheckpoint = std::string(MU_FIXTURES) + "/full-run/checkpoint-40";

// A copy of a real checkpoint that claims another step, one hour older for each step below a thousand.
inline std::string add_checkpoint(const std::string& run, std::uint64_t step) {
  const std::string path = fmt::format("{}/checkpoint-{}", run, step);
  std::filesystem::copy(kRealCheckpoint, path);
  std::string state = get(path + "/trainer_state.json");
  const std::size_t at = state.find("\"global_step\": 40");
  state.replace(at, 17, fmt::format("\"global_step\": {}", step));
  put(path + "/trainer_state.json", state);
  const timespec time = {::time(nullptr) - 3600 * (1000 - static_cast<time_t>(step)), 0};
  const timespec times[2] = {time, time};
  for (const auto& entry : std::filesystem::directory_iterator(path))
    ::utimensat(AT_FDCWD, entry.path().c_str(), times, 0);
  ::utimensat(AT_FDCWD, path.c_str(), times, 0);
  return path;
}

inline std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

// One run after a scan.
struct LookedAt {
  std::vector<RunFolder> folders;
  std::vector<RunFacts> facts;

  [[nodiscard]] const RunFacts& run() const { return facts.front(); }
  [[nodiscard]] const CheckpointFacts& of(std::uint64_t step) const {
    for (const CheckpointFacts& c : run().checkpoints) {
      if (c.number == step) return c;
    }
    throw refused("no such step");
  }
};

inline LookedAt look_at(const std::string& path, const ScanOptions& options = {},
                        const CheckpointNames& names = {}) {
  LookedAt out;
  out.folders = std::move(find_runs({path}, false, names).runs);
  out.facts = scan_runs(out.folders, names, options);
  return out;
}

inline Outcome execute(const LookedAt& at, const Policy& policy, const ExecuteOptions& options = {}) {
  const Plan plan = make_plan(at.facts, policy);
  return execute_plan(at.folders.front(), at.run(), plan.runs.front(), options);
}

inline Policy keep_last(std::uint64_t count) {
  Policy policy;
  policy.keep_last = count;
  return policy;
}

}  // namespace mu::testing
