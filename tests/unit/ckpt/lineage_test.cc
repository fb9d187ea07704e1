// SPDX-License-Identifier: Apache-2.0
#include "ckpt/lineage.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "ckpt/history.h"
#include "ckpt/log_mark.h"

using namespace mu;

TEST_CASE("history: the best one is found whatever its path looks like") {
  std::vector<CheckpointFacts> here(3);
  here[0].name = "checkpoint-10", here[0].number = 10;
  here[1].name = "checkpoint-20", here[1].number = 20;
  here[2].name = "my best=1.ckpt", here[2].number = 1;
  const auto best_of = [&here](const std::string& path, std::optional<std::uint64_t> step = std::nullopt) {
    TrainerState state;
    state.best_model_checkpoint = path;
    state.best_global_step = step;
    return best_name(state, here);
  };
  for (const char* const path :
       {"checkpoint-10", "./checkpoint-10", "/x/checkpoint-10/", "/x/checkpoint-10//", "x/checkpoint-10/.",
        "C:\\runs\\x\\checkpoint-10", "C:\\runs\\checkpoint-10\\", "C:checkpoint-10",
        "..\\out\\checkpoint-10\\.", "C:/runs/a b/checkpoint-10/", " /x/checkpoint-10 \n",
        "/x/checkpoint-10/adapter_model.safetensors", "\\\\server\\share\\checkpoint-10",
        "/x\\checkpoint-10/", "file:///x/checkpoint-10"}) {
    CAPTURE(path);
    CHECK(best_of(path) == "checkpoint-10");
  }
  CHECK(best_of("/x/my best=1.ckpt") == "my best=1.ckpt");
  CHECK(best_of("/x/checkpoint-50/") == "checkpoint-50");  // gone
  CHECK(best_of("/x/checkpoint-100") == "checkpoint-100");
  CHECK(best_of("") == "");
  CHECK(best_of("///") == "");
  CHECK(best_of("", 20) == "checkpoint-20");
  CHECK(best_of("/x/model", 20) == "checkpoint-20");
}

namespace {

// A run of so many steps: the first loss, and what each later entry says.
TrainerState state_of(std::uint64_t steps, double first, const char* last = "NaN") {
  std::string entries;
  for (std::uint64_t i = 1; i <= steps; ++i)
    entries += fmt::format(R"({}{{"loss": {}, "step": {}}})", i == 1 ? "" : ", ",
                           i == 1 ? fmt::format("{}", first) : last, i);
  return parse_trainer_state(fmt::format(R"({{"global_step": {}, "log_history": [{}]}})", steps, entries));
}

// Checkpoints with these states; of `large` ones only the ends of their logs were read.
std::vector<CheckpointFacts> checkpoints_of(const std::vector<TrainerState>& states,
                                            const std::vector<std::int64_t>& times, bool large) {
  std::vector<CheckpointFacts> checkpoints(states.size());
  for (std::size_t i = 0; i < checkpoints.size(); ++i) {
    checkpoints[i].number = i + 1;
    checkpoints[i].condition = Condition::kResumable;
    checkpoints[i].state = FileStamp{};
    checkpoints[i].time_ns = times[i];
    checkpoints[i].log = mark_log(states[i]);
    if (large) checkpoints[i].log.all = 0;
  }
  return checkpoints;
}

}  // namespace

TEST_CASE("lineage: one log is the beginning of another") {
  struct Row {
    const char* what;
    std::vector<TrainerState> states;  // by step
    std::vector<std::int64_t> times;
    std::vector<std::optional<std::size_t>> lineages;
    std::size_t reads;
  };
  const std::optional<std::size_t> none;
  const Row rows[] = {
      {"one run, NaN equals NaN", {state_of(1, 5), state_of(2, 5), state_of(3, 5)}, {1, 2, 3}, {0, 0, 0}, 1},
      {"times never separate", {state_of(1, 5), state_of(2, 5), state_of(3, 5)}, {9, 2, 3}, {0, 0, 0}, 1},
      {"begun again",
       {state_of(1, 6), state_of(2, 6), state_of(3, 5), state_of(4, 5)},
       {8, 9, 1, 2},
       {0, 0, 1, 1},
       2},
      {"the other way round",
       {state_of(1, 6), state_of(2, 6), state_of(3, 5), state_of(4, 5)},
       {1, 2, 8, 9},
       {1, 1, 0, 0},
       2},
      {"a common ancestor is of the one saved last",
       {state_of(1, 5), state_of(2, 5, "1"), state_of(3, 5)},
       {1, 9, 2},
       {0, 0, 1},
       2},
      {"and here too", {state_of(1, 5), state_of(2, 5, "1"), state_of(3, 5)}, {1, 2, 9}, {0, 1, 0}, 2},
      {"empty logs say nothing", {state_of(0, 5), state_of(0, 5)}, {1, 2}, {none, none}, 1},
      {"an empty one among others",
       {state_of(1, 5), state_of(0, 5), state_of(3, 5)},
       {1, 2, 3},
       {0, none, 0},
       1},
      {"three", {state_of(1, 5), state_of(2, 6), state_of(3, 7)}, {3, 9, 6}, {2, 0, 1}, 3},
  };
  for (const bool large : {false, true}) {
    for (const Row& row : rows) {
      CAPTURE(row.what);
      CAPTURE(large);
      std::vector<CheckpointFacts> checkpoints = checkpoints_of(row.states, row.times, large);
      std::size_t reads = 0;
      const std::vector<Lineage> lineages = find_lineages(checkpoints, [&](CheckpointFacts& c) {
        ++reads;
        return std::optional(row.states[*c.number - 1]);
      });
      for (std::size_t i = 0; i < checkpoints.size(); ++i) CHECK(checkpoints[i].lineage == row.lineages[i]);
      if (!large) CHECK(reads == row.reads);
      CHECK(lineages.size() ==
            std::max<std::size_t>(1, std::set(row.lineages.begin(), row.lineages.end()).size() -
                                         static_cast<std::size_t>(std::count(row.lineages.begin(),
                                                                             row.lineages.end(), none) > 0)));
    }
  }
}
