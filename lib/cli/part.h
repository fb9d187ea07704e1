// SPDX-License-Identifier: Apache-2.0
// --part: I/N as the user wrote it, or as the engine that started this process says.
//
//   auto     index and count as Slurm arrays, srun, Open MPI or a PMI launcher set them. Processes within a
//            task of a Slurm array cut that task's part again: N is tasks times processes.
//   auto/N   only the index, for engines that set no count: indexed jobs of Kubernetes, GNU parallel. An
//            engine that does set one must set N.
//
// Sources: sbatch(1) "JOB ARRAY" and srun(1) "OUTPUT ENVIRONMENT VARIABLES" (Slurm 22.05), mpirun(1) of Open
// MPI 4.1, the PMI-1 variables of MPICH's hydra, Kubernetes' Job with completionMode Indexed, parallel(1).
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/part.h"

namespace mu {

// The value of a variable; empty where it is unset.
using Environment = std::function<std::string(const char* name)>;

// Reads "I/N", "auto" or "auto/N". Throws kUsage, also when no engine says which part this process is.
Part parse_part_option(std::string_view text, const Environment& environment);
Part parse_part_option(std::string_view text);  // with the environment of this process

}  // namespace mu
