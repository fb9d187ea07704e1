// SPDX-License-Identifier: Apache-2.0
// What is known about a training run and its checkpoints before anything is decided: plain data, gathered by
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

// Times are kept in nanoseconds, as file systems give them.
inline constexpr std::int64_t kSecond = 1'000'000'000;

enum class Condition : std::uint8_t {
  kResumable,      // complete: training can resume from it
  kInferenceOnly,  // complete, without what resuming needs (save_only_model, or slimmed)
  kTorn,           // something is missing, cut or contradicts itself
  kUnreadable,     // it could not be looked at
};
std::string_view condition_name(Condition condition);  // "resumable", one word or two

// What the bytes of a checkpoint hold.
enum class Content : std::uint8_t { kWeights, kOptimizer, kScheduler, kScaler, kRng, kState, kOther };
inline constexpr std::size_t kContentCount = 7;
std::string_view content_name(Content content);

// A file with several names. It takes its space once, and frees it when the last name goes.
struct SharedFile {
  FileId id;
  std::uint64_t bytes;  // on disk
  std::uint64_t links;  // names it has in the whole file system
  bool is_training;     // slimming removes it
};

// A fingerprint of a log, so that the log itself need not be kept: the same entries give the same numbers.
struct LogMark {
  bool is_empty = true;
  std::uint64_t all = 0;   // of all entries; 0 if only the ends were read
  std::uint64_t ends = 0;  // of the first and the last entry; 0 if they could not be found
};

// An entry of a checkpoint folder that only resuming needs.
struct TrainingEntry {
  std::string name;
  FileId id;
};

struct CheckpointFacts {
  std::string name;                     // in the run folder
  std::optional<std::uint64_t> number;  // the step; with --pattern the number in its name
  bool is_file = false;
  bool is_staging = false;  // "tmp-checkpoint-*", the stage of some Trainer releases: never a checkpoint
  FileStamp stamp;          // of the folder or file itself
  std::optional<FileStamp> state;  // of trainer_state.json
  std::int64_t time_ns = 0;        // when it was saved: mtime of trainer_state.json, else the newest inside
  std::int64_t changed_ns = 0;     // newest mtime of anything in it, itself included
  std::optional<double> epoch;
  LogMark log;                         // of trainer_state.json
  std::optional<std::size_t> lineage;  // the run it belongs to, 0 being the one saved last; nullopt: unknown

  Condition condition = Condition::kTorn;
  std::string why;                     // what is torn, missing for resuming, or unreadable
  std::string doubt;                   // odd, but does not make it incomplete
  bool shows_complete = true;          // false: none of its files can show that it is complete
  bool is_rank_only = false;           // only files of some ranks, as on a node with its own disk
  bool lacks_state = false;            // has no trainer_state.json: torn if the Trainer wrote it
  std::vector<std::string> rank_sets;  // kinds of files that ranks write, in order: "critic/optim.pt"
  bool saves_model_only = false;       // its own training_args.bin says save_only_model
  bool has_optimizer = false;
  std::string slim_block;  // why it can't be slimmed; empty: training_entries say what goes
  std::vector<TrainingEntry> training_entries;

  std::uint64_t bytes = 0;           // on disk, as `du` counts: files with a single name …
  std::uint64_t training_bytes = 0;  // … the bytes of these that slimming frees
  std::vector<SharedFile> shared;    // … and files with several names
  std::uint64_t apparent_bytes = 0;  // sum of file sizes: what another checkpoint like it will take
  std::array<std::uint64_t, kContentCount> content_bytes{};  // on disk, including files with several names

  bool has_keep_file = false;            // it holds a file KEEP
  bool has_mount = false;                // something is mounted in it or on it
  std::optional<std::string> writer;     // process that has a file in it open for writing
  std::optional<std::string> linked_by;  // symbolic link from outside that points here
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
  std::optional<bool> lower_is_better;  // nullopt: not known
  bool is_given = false;                // the user named it
  bool is_logged = true;                // a log or the name of a checkpoint holds it
};

// A file or link by which a trainer names its last finished checkpoint.
struct Tracker {
  std::string name;                     // in the run folder
  std::string says;                     // its text, or the target of the link
  std::string entry;                    // the checkpoint that it names …
  std::optional<std::uint64_t> number;  // … or its step; neither if it names a place elsewhere, or nothing
  std::int64_t changed_ns = 0;
};

// What a killed run left half done.
struct Leftover {
  std::string name;                // in the run folder
  std::string target;              // the checkpoint that it was or belonged to
  std::optional<FileId> judged{};  // only this may be deleted; nullopt: hidden by 0.1, or has a journal
};

struct RunFacts {
  std::string path;              // as given
  std::optional<Error> failure;  // why the run could not be read; then nothing else is set
  dev_t device = 0;
  std::int64_t now_ns = 0;  // by the clock of its file system
  std::uint64_t free_bytes = 0;
  std::vector<CheckpointFacts> checkpoints;  // oldest first: by number, or by time if no name holds one
  bool is_by_pattern = false;
  std::string best;  // the checkpoint that the newest state names as the best; may be gone
  std::vector<std::string> other_bests;  // the same of lineages 1, 2 …
  std::optional<double> best_metric;
  std::optional<double> save_steps;  // between saves; below 1: a fraction of the whole run
  RankingMetric metric;
  bool has_evaluations = true;            // a log or the name of a checkpoint holds a metric to rank by
  std::vector<std::string> metric_names;  // of CheckpointFacts::metrics
  std::vector<std::pair<std::uint64_t, double>>
      metric_series;  // step and value of `metric`, in the order logged
  std::vector<Tracker> trackers;
  std::vector<std::string> keep_names;  // lines of a file KEEP in the run folder
  std::vector<Leftover> leftovers;
  std::vector<std::string> left_alone;  // fits the pattern but is not a checkpoint: a sentence a reason
  std::vector<std::string> warnings;

  // The ranking metric of a checkpoint; nullopt if it has none, or one that is not finite.
  [[nodiscard]] std::optional<double> rank_value(const CheckpointFacts& checkpoint) const;
};

// A checkpoint that is torn, or can't be shown to be complete, may still be being written if it changed
// within this time. Longer would protect writers that pause for longer; shorter would let the remains of a
// crash go sooner.
inline constexpr std::int64_t kWritingNs = 120 * kSecond;

// A process has it open for writing; or it changed within kWritingNs and is incomplete, or nothing shows that
// it is complete.
bool is_being_written(const CheckpointFacts& checkpoint, std::int64_t now_ns);

// How long ago, never negative: a time in the future counts as now, so that a clock that jumped only makes us
// more careful.
std::int64_t age_ns(std::int64_t time_ns, std::int64_t now_ns);

}  // namespace mu
