// SPDX-License-Identifier: Apache-2.0
// trainer_state.json: the log of a run, and the pull scanner in Python's dialect.
#include "model/trainer_state.h"

#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const mu::TrainerState state = mu::parse_trainer_state(mu::fuzzing::as_view(data, size));
    for (const mu::TrainerLogEntry& entry : state.log_history) {
      for (const mu::TrainerMetric& metric : entry.metrics) {
        if (metric.name >= state.metric_names.size()) __builtin_trap();
      }
    }
  } catch (const mu::Error&) {
  }
  return 0;
}
