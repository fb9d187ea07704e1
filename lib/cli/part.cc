// SPDX-License-Identifier: Apache-2.0
#include "cli/part.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <optional>

#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

// A number that an engine set; nothing where the variable is unset or empty. Throws kUsage for nonsense.
std::optional<std::size_t> number_in(const Environment& environment, const char* name) {
  const std::string text = environment(name);
  if (text.empty()) return std::nullopt;
  std::size_t value = 0;
  const std::from_chars_result parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
    throw usage(fmt::format("--part auto: {} is '{}', which is not a number", name, escape_name(text)));
  return value;
}

Part checked(std::size_t from_zero, std::size_t count, const char* name) {
  if (from_zero >= count || count > kMostParts)
    throw usage(fmt::format("--part auto: {} says part {} of {}", name, from_zero + 1, count));
  return {from_zero + 1, count};
}

// The task of a job array. Ids with gaps (--array=1,3,7) don't say which of them this one is.
std::optional<Part> array_task(const Environment& environment) {
  const std::optional<std::size_t> id = number_in(environment, "SLURM_ARRAY_TASK_ID");
  if (!id) return std::nullopt;
  const std::size_t first = number_in(environment, "SLURM_ARRAY_TASK_MIN").value_or(*id);
  const std::size_t last = number_in(environment, "SLURM_ARRAY_TASK_MAX").value_or(*id);
  const std::size_t step = number_in(environment, "SLURM_ARRAY_TASK_STEP").value_or(1);
  const std::size_t count = number_in(environment, "SLURM_ARRAY_TASK_COUNT").value_or(1);
  const bool even = step > 0 && first <= *id && *id <= last && (*id - first) % step == 0 &&
                    (last - first) / step + 1 == count;
  if (!even)
    throw usage("--part auto: the ids of this Slurm array have gaps")
        .hint("use --array=1-N, or --part $SLURM_ARRAY_TASK_ID/N");
  return checked((*id - first) / step, count, "SLURM_ARRAY_TASK_ID");
}

// The rank of a parallel launch. mpirun within Slurm starts its daemons by srun, so MPI's own variables
// are asked first. Slurm sets SLURM_PROCID in the batch script too; only a step has SLURM_STEP_NUM_TASKS.
std::optional<Part> rank(const Environment& environment) {
  constexpr std::pair<const char*, const char*> kEngines[] = {
      {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
      {"PMI_RANK", "PMI_SIZE"},
      {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"}};
  for (const auto& [index, count] : kEngines) {
    const std::optional<std::size_t> i = number_in(environment, index), n = number_in(environment, count);
    if (i && n) return checked(*i, *n, index);
  }
  return std::nullopt;
}

std::optional<Part> known_part(const Environment& environment) {
  const std::optional<Part> task = array_task(environment), own = rank(environment);
  if (!task || !own) return task ? task : own;
  return checked((task->index - 1) * own->count + own->index - 1, task->count * own->count,
                 "SLURM_ARRAY_TASK_ID with the rank");
}

Part counted_part(std::size_t count, const Environment& environment) {
  if (const std::optional<Part> known = known_part(environment)) {
    if (known->count == count) return *known;
    throw usage(fmt::format("--part auto/{}: the engine started {} parts", count, known->count));
  }
  if (const std::optional<std::size_t> index = number_in(environment, "JOB_COMPLETION_INDEX"))
    return checked(*index, count, "JOB_COMPLETION_INDEX");
  const std::optional<std::size_t> job = number_in(environment, "PARALLEL_SEQ");
  if (job && *job > 0) return checked(*job - 1, count, "PARALLEL_SEQ");
  throw usage("--part auto: no Slurm, MPI, Kubernetes or GNU parallel says which part this is")
      .hint("give I/N");
}

}  // namespace

Part parse_part_option(std::string_view text, const Environment& environment) {
  if (text.starts_with("auto/"))
    return counted_part(parse_part("1/" + std::string(text.substr(5))).count, environment);
  if (text != "auto") return parse_part(text);
  if (const std::optional<Part> known = known_part(environment)) return *known;
  if (!environment("JOB_COMPLETION_INDEX").empty() || !environment("PARALLEL_SEQ").empty())
    throw usage("--part auto: this engine sets only the index").hint("give the count: --part auto/N");
  throw usage("--part auto: no Slurm array, srun, Open MPI or PMI says which part this is").hint("give I/N");
}

Part parse_part_option(std::string_view text) {
  return parse_part_option(text, [](const char* name) -> std::string {
    const char* const value = std::getenv(name);
    return value == nullptr ? "" : value;
  });
}

}  // namespace mu
