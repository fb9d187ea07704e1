// SPDX-License-Identifier: Apache-2.0
// What is known of a training run and its checkpoints before anything is decided: plain data, gathered by
// scan.h, judged by plan.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "model/trainer_state.h"
#include "os/file.h"

namespace mu {

enum class Condition : std::uint8_t {
  kResumable,      // complete: the trainer can go on from it
  kInferenceOnly,  // complete, without what resuming needs (save_only_model, or slimmed)
  kTorn,           // something is missing, cut or contradicts itself
  kUnreadable,     // it could not be looked at
};
std::string_view condition_name(Condition condition);  // "resumable", one word or two

// What the bytes of a checkpoint are spent on.
enum class Content : std::uint8_t { kWeights, kOptimizer, kScheduler, kScaler, kRng, kState, kOther };
inline constexpr std::size_t kContentCount = 7;
std::string_view content_name(Content content);

// A file with several names. It takes its space once, and frees it with the last of them.
struct SharedFile {
  FileId id;
  std::uint64_t bytes;  // on disk
  std::uint64_t links;  // names it has anywhere
  bool is_training;     // goes when the checkpoint is slimmed
};

// What a log can be told by without being kept: the same entries give the same numbers.
struct LogMark {
  bool is_empty = true;
  std::uint64_t all = 0;   // of all entries; 0 where only the ends were looked at
  std::uint64_t ends = 0;  // of the first and the last; 0 where they could not be made out
};

// An entry of a checkpoint folder that only resuming needs.
struct TrainingEntry {
  std::string name;
  FileId id;
};

struct CheckpointFacts {
  std::string name;                     // in the run folder
  std::optional<std::uint64_t> number;  // the step; by pattern the number its name holds
  bool is_file = false;
  bool is_staging = false;         // "tmp-checkpoint-*", which some releases save into: never a checkpoint
  FileStamp stamp;                 // of the folder or file itself
  std::optional<FileStamp> state;  // of trainer_state.json
  std::int64_t time_ns = 0;        // when it was saved: mtime of trainer_state.json, else the newest inside
  std::int64_t changed_ns = 0;     // newest mtime of anything in it, itself included
  std::optional<double> epoch;
  LogMark log;                         // of trainer_state.json
  std::optional<std::size_t> lineage;  // which run of this folder it is of, 0 being the one saved last;
                                       // nothing: its log says nothing

  Condition condition = Condition::kTorn;
  std::string why;             // what is torn, missing for resuming, or unreadable
  std::string doubt;           // what is odd about it and makes it no less complete
  bool shows_complete = true;  // false: nothing among its files can tell whether it is whole
  bool is_rank_only = false;  // files of some ranks and no weights that load by themselves: a node's own disk
  bool lacks_state =
      false;  // would be torn for want of a trainer_state.json, were it known to be the Trainer's
  std::vector<std::string> rank_parts;  // kinds of files that ranks write, in order: "critic/optim.pt"
  bool saves_model_only = false;        // its own training_args.bin says save_only_model
  bool has_optimizer = false;
  std::string slim_block;  // why it can't be slimmed; empty: training_entries say what goes
  std::vector<TrainingEntry> training_entries;

  std::uint64_t bytes = 0;           // on disk as `du` counts, files with one name only …
  std::uint64_t training_bytes = 0;  // … and what of them slimming frees
  std::vector<SharedFile> shared;    // … and the others
  std::uint64_t apparent_bytes = 0;  // sum of file sizes: what writing such a one again takes
  std::array<std::uint64_t, kContentCount> content_bytes{};  // on disk, files with several names included

  bool has_keep_file = false;            // a file KEEP lies inside
  bool has_mount = false;                // something is mounted in it, or it is a mount point
  std::optional<std::string> writer;     // process that has a file in it open for writing
  std::optional<std::string> linked_by;  // symbolic link from outside that leads here
  std::vector<TrainerMetric> metrics;    // logged at its step; names in RunFacts

  [[nodiscard]] bool is_complete() const {
    return condition == Condition::kResumable || condition == Condition::kInferenceOnly;
  }
  // On disk, shared files included.
  [[nodiscard]] std::uint64_t disk_bytes() const {
    std::uint64_t sum = bytes;
    for (const SharedFile& file : shared) sum += file.bytes;
    return sum;
  }
};

// The metric by which checkpoints are ranked.
struct RankingMetric {
  std::string name;                     // as logged, "eval_loss"
  std::optional<bool> lower_is_better;  // nothing: nobody said
  bool is_given = false;                // the user named it
  bool is_logged = true;                // some log, or the name of a checkpoint, holds it
};

// A file or link by which a trainer says which of its checkpoints is the last finished one.
struct Tracker {
  std::string name;                     // in the run folder
  std::string says;                     // its text, or where the link leads
  std::string entry;                    // the name of a checkpoint that it means …
  std::optional<std::uint64_t> number;  // … or its step; neither: a place elsewhere, or nothing
  std::int64_t changed_ns = 0;
};

// What a killed run left half done.
struct Leftover {
  std::string name;                // in the run folder
  std::string target;              // the checkpoint it was, or belonged to
  std::optional<FileId> judged{};  // only this may be deleted; nothing: 0.1 hid it, or it has a journal
};

struct RunFacts {
  std::string path;              // as given
  std::optional<Error> failure;  // why the run could not be looked at; nothing else is set then
  dev_t device = 0;
  std::int64_t now_ns = 0;  // by the clock of its file system
  std::uint64_t free_bytes = 0;
  std::vector<CheckpointFacts> checkpoints;  // oldest first: by number, by time where no name holds one
  bool is_by_pattern = false;
  std::string best;  // name of the checkpoint that the newest state calls the best one; may be gone
  std::vector<std::string> other_bests;  // the same of lineages 1, 2 …
  std::optional<double> best_metric;
  std::optional<double> save_steps;  // between saves; below 1 a share of the whole run
  RankingMetric metric;
  bool has_evaluations = true;            // some log or name of a checkpoint holds a metric to rank by
  std::vector<std::string> metric_names;  // of CheckpointFacts::metrics
  std::vector<std::pair<std::uint64_t, double>>
      metric_series;  // step and value of `metric`, in the order logged
  std::vector<Tracker> trackers;
  std::vector<std::string> keep_names;  // lines of a file KEEP in the run folder
  std::vector<Leftover> leftovers;
  std::vector<std::string> left_alone;  // fits the pattern, is not a checkpoint: a sentence for each reason
  std::vector<std::string> warnings;

  // The ranking metric of a checkpoint; nothing when it has none, or one that is not finite.
  [[nodiscard]] std::optional<double> rank_value(const CheckpointFacts& checkpoint) const;
};

// What changed within this time may still be written to.
inline constexpr std::int64_t kWritingNs = 120'000'000'000;

// Open for writing; or incomplete, or without a sign of being complete, and changed within two minutes.
bool is_being_written(const CheckpointFacts& checkpoint, std::int64_t now_ns);

// How long ago, never negative: a time in the future is as good as now, so that a clock that jumped makes us
// careful and nothing else.
std::int64_t age_ns(std::int64_t time_ns, std::int64_t now_ns);

}  // namespace mu
