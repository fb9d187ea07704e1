// SPDX-License-Identifier: Apache-2.0
// trainer_state.json, the progress and history of a run as Transformers' Trainer keeps it in every checkpoint
// (transformers/trainer_callback.py, TrainerState). A long run logs tens of thousands of times, and programs
// that look at many runs read many such files, so it is scanned in one pass without a tree.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

// One number of a log entry.
struct TrainerMetric {
  std::uint32_t name;  // index of TrainerState::metric_names
  double value;        // may be NaN or infinite
};

// One log or evaluation. Several evaluation sets give several entries of one step.
struct TrainerLogEntry {
  std::optional<std::uint64_t> step;
  std::optional<double> epoch;
  std::vector<TrainerMetric> metrics;  // everything else that is a number, in its order in the file
};

// Fields that the file lacks, or that hold null or something of another type, are empty.
struct TrainerState {
  std::optional<std::uint64_t> global_step;       // optimizer updates done
  std::optional<std::uint64_t> max_steps;         // updates planned
  std::optional<double> epoch;                    // epochs done
  std::optional<std::uint64_t> num_train_epochs;  // epochs planned
  std::optional<double> best_metric;              // of metric_for_best_model; infinite before the first
  std::optional<std::uint64_t> best_global_step;  // step of that evaluation, whether it was saved or not
  std::string best_model_checkpoint;  // path as the training process saw it; the folder has often moved since
  std::optional<std::uint64_t> train_batch_size;                // of one process
  std::optional<double> save_steps, eval_steps, logging_steps;  // below 1: a fraction of max_steps
  std::optional<double> total_flos;
  std::optional<std::uint64_t> num_input_tokens_seen;
  std::vector<TrainerLogEntry> log_history;  // in the order of logging
  std::vector<std::string> metric_names;     // every name once, in the order of first use

  // Index of a name, or nothing when no entry has it.
  [[nodiscard]] std::optional<std::uint32_t> metric_id(std::string_view name) const;
};

// Reads the text of such a file, Python's bare NaN and Infinity included. Keys it does not know are skipped,
// of equal keys the last counts. Throws kMalformed with the byte where the text stops being the JSON of an
// object, or stops being UTF-8; a crash during saving leaves an empty or cut file.
TrainerState parse_trainer_state(std::string_view text);

}  // namespace mu
