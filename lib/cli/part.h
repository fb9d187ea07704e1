// SPDX-License-Identifier: Apache-2.0
// --part: a part as it is written out, or taken from the engine that started this process.
//
//   auto     index and count as Slurm arrays, srun, Open MPI or a PMI launcher set them. Processes within a
//            task of a Slurm array cut that task's part again: N is tasks times processes.
//   auto/N   the index alone, for engines that set no count: indexed jobs of Kubernetes, GNU parallel. An
//            engine that sets one must set N.
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

// Reads "I/N", "auto" or "auto/N". Throws kUsage, also where no engine says who this process is.
Part parse_part_option(std::string_view text, const Environment& environment);
Part parse_part_option(std::string_view text);  // with the environment of this process

}  // namespace mu
