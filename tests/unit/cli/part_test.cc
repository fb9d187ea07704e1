// SPDX-License-Identifier: Apache-2.0
#include "cli/part.h"

#include <doctest/doctest.h>

#include <map>
#include <optional>

#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

using Variables = std::map<std::string, std::string>;

// The part, or nothing for a usage error.
std::optional<Part> part(const char* text, const Variables& variables) {
  std::optional<Part> found;
  const auto read = [&] {
    found = parse_part_option(text, [&](const char* name) {
      const auto variable = variables.find(name);
      return variable == variables.end() ? std::string() : variable->second;
    });
  };
  const std::optional<ErrorKind> error = error_of(read);
  CHECK((!error || error == ErrorKind::kUsage));
  return found;
}

Variables array(const char* id, const char* min, const char* max, const char* count, const char* step = "1") {
  return {{"SLURM_ARRAY_TASK_ID", id},
          {"SLURM_ARRAY_TASK_MIN", min},
          {"SLURM_ARRAY_TASK_MAX", max},
          {"SLURM_ARRAY_TASK_COUNT", count},
          {"SLURM_ARRAY_TASK_STEP", step}};
}

Variables with(Variables a, const Variables& b) {
  a.insert(b.begin(), b.end());
  return a;
}

const Variables kBatchScript = {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}};
const Variables kStep = {{"SLURM_PROCID", "2"}, {"SLURM_NTASKS", "4"}, {"SLURM_STEP_NUM_TASKS", "4"}};
const Variables kOpenMpi = {{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "3"}};

}  // namespace

TEST_CASE("part option: I/N counts as given, whatever the engine says") {
  CHECK(part("2/5", kOpenMpi) == Part{2, 5});
}

TEST_CASE("part option: a Slurm array from any first id, by any step") {
  CHECK(part("auto", array("1", "1", "4", "4")) == Part{1, 4});
  CHECK(part("auto", array("0", "0", "3", "4")) == Part{1, 4});
  CHECK(part("auto", array("13", "5", "17", "4", "4")) == Part{3, 4});
  CHECK(part("auto", array("3", "3", "3", "1")) == Part{1, 1});
}

TEST_CASE("part option: array ids with gaps are refused") {
  CHECK_FALSE(part("auto", array("3", "1", "7", "3")));
  CHECK_FALSE(part("auto", array("4", "1", "7", "4", "2")));
  CHECK_FALSE(part("auto", array("9", "1", "7", "7")));
  CHECK_FALSE(part("auto", array("1", "1", "4", "4", "0")));
}

TEST_CASE("part option: ranks of srun, Open MPI and PMI; MPI before Slurm, whose srun started its daemons") {
  CHECK(part("auto", kStep) == Part{3, 4});
  CHECK(part("auto", kOpenMpi) == Part{2, 3});
  CHECK(part("auto", {{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}}) == Part{1, 2});
  CHECK(part("auto", with(kOpenMpi, kStep)) == Part{2, 3});
}

TEST_CASE("part option: a batch script is one process, though Slurm numbers it like a rank") {
  CHECK_FALSE(part("auto", kBatchScript));
  CHECK(part("auto", with(array("2", "1", "4", "4"), kBatchScript)) == Part{2, 4});
}

TEST_CASE("part option: ranks within a task of an array divide the task's part") {
  CHECK(part("auto", with(array("2", "1", "4", "4"), kStep)) == Part{7, 16});
  CHECK(part("auto", with(array("4", "1", "4", "4"), kOpenMpi)) == Part{11, 12});
}

TEST_CASE("part option: engines that set only an index need the count") {
  const Variables kubernetes = {{"JOB_COMPLETION_INDEX", "0"}}, parallel = {{"PARALLEL_SEQ", "8"}};
  CHECK(part("auto/8", kubernetes) == Part{1, 8});
  CHECK(part("auto/8", parallel) == Part{8, 8});
  CHECK_FALSE(part("auto", kubernetes));
  CHECK_FALSE(part("auto", parallel));
  CHECK_FALSE(part("auto/7", parallel));
  CHECK_FALSE(part("auto/0", kubernetes));
  CHECK_FALSE(part("auto/8", {}));
  CHECK(part("auto/3", kOpenMpi) == Part{2, 3});
  CHECK_FALSE(part("auto/4", kOpenMpi));
}

TEST_CASE("part option: nonsense from an engine is refused") {
  for (const char* text : {"x", "-1", "1x", "3", "18446744073709551616"})
    CHECK_FALSE(part("auto", {{"OMPI_COMM_WORLD_RANK", text}, {"OMPI_COMM_WORLD_SIZE", "3"}}));
  CHECK_FALSE(part("auto", {{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "0"}}));
  CHECK_FALSE(part("auto", {}));
}
