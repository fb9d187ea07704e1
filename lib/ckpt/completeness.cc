// SPDX-License-Identifier: Apache-2.0
// How a checkpoint is judged. The folder's entries are grouped by folder and role (checkpoint_files.h). Each
// judge then adds what it finds to one Evidence: first the files that a single process writes
// (weight_files.h), then one judge for each layout that ranks write together (layouts.h), then
// trainer_state.json, which the Trainer writes last. The first fault found is the one reported. From the
// evidence alone follow the condition (torn without the files that must be there, inference only without
// those that resuming needs) and the entries that slimming may take. The order matters in two places: the
// layouts come before adapters and before "no weights", since the partitions of the ranks may hold them, and
// the deep check runs only where names and sizes found no fault, since it reads everything.

#include "ckpt/completeness.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/glob.h"
#include "base/text.h"
#include "ckpt/checkpoint_files.h"
#include "ckpt/layouts.h"
#include "ckpt/saved_arguments.h"
#include "ckpt/state_file.h"
#include "ckpt/weight_files.h"
#include "model/rank_state.h"
#include "os/folder.h"
#include "weights/open/open.h"

namespace mu {
namespace {

Content content_of(FileRole role, std::string_view name) {
  switch (role) {
    case FileRole::kWeights:
    case FileRole::kWeightsIndex:
    case FileRole::kTorchWeights:
    case FileRole::kOtherWeights:
    case FileRole::kNamedAdapter:
      return Content::kWeights;
    case FileRole::kRankState:
      return name.find("optim_states") != std::string_view::npos ||
                     name.find("offloaded_tensors") != std::string_view::npos
                 ? Content::kOptimizer
                 : Content::kWeights;
    case FileRole::kOptimizer:
      return Content::kOptimizer;
    case FileRole::kScheduler:
      return Content::kScheduler;
    case FileRole::kScaler:
      return Content::kScaler;
    case FileRole::kRng:
      return Content::kRng;
    case FileRole::kTrainerState:
    case FileRole::kTrainingArgs:
      return Content::kState;
    default:
      return Content::kOther;
  }
}

// Marks that a writer removes when it has finished.
std::string unfinished_mark(const Walk& walk) {
  for (const WalkedEntry& entry : walk.entries) {
    const std::string_view base = base_name(entry.name);
    if (base == "checkpoint-is-incomplete.txt") return "holds the marker of a save that was cut off";
    if (is_unfinished_name(base)) return entry.name + " was never finished";
    if (base.starts_with(".nfs")) return "files are being deleted from it (" + entry.name + ")";
  }
  return walk.is_changing ? "files are vanishing from it" : "";
}

class Judge {
 public:
  Judge(int folder, const std::string& path, const Walk& walk, const JudgeOptions& options,
        CheckpointFacts& facts)
      : path_(path), walk_(walk), options_(options), facts_(facts), files_(folder, path, walk) {}

  bool judge() {
    evidence_.blame(unfinished_mark(walk_));
    if (files_.top().entries.empty()) evidence_.blame("is empty");
    evidence_.is_recognised = has_trainer_name();  // always judged
    facts_.has_keep_file = files_.top().find("KEEP") != nullptr;
    judge_files(files_, options_.deep, evidence_);
    judge_zero(files_, evidence_);
    judge_dcp(files_, evidence_);
    judge_megatron(files_, evidence_);
    judge_ranks(
        files_, [this] { return arguments(); }, evidence_);
    judge_adapters(files_, evidence_);
    check_state();
    const bool has_any = evidence_.has_weights || evidence_.has_partitions;
    if (!evidence_.is_rank_only && !has_any && !is_of_other_node()) evidence_.blame("no weights");
    if (evidence_.fault.empty() && options_.deep) check_ranks_deeply();
    find_training_entries();
    conclude();
    return evidence_.is_recognised;
  }

  void measure() {
    const std::vector<PlacedEntry>& tops = files_.top().entries;
    std::size_t top = 0;
    for (const WalkedEntry& entry : walk_.entries) {
      while (top + 1 < tops.size() && !belongs(entry, *tops[top].entry)) ++top;
      const FileRole role = tops.empty() ? FileRole::kOther : tops[top].role;
      const bool training = !tops.empty() && is_training(tops[top].entry->name);
      facts_.apparent_bytes += entry.kind == WalkedEntry::Kind::kFile ? entry.size : 0;
      facts_.content_bytes[static_cast<std::size_t>(content_of(role, entry.name))] += entry.disk_bytes;
      if (entry.kind != WalkedEntry::Kind::kFolder && entry.links > 1) {
        facts_.shared.push_back({entry.stamp.id, entry.disk_bytes, entry.links, training});
      } else {
        facts_.bytes += entry.disk_bytes;
        if (training) facts_.training_bytes += entry.disk_bytes;
      }
      facts_.changed_ns = std::max(facts_.changed_ns, entry.stamp.mtime_ns);
    }
  }

 private:
  static bool belongs(const WalkedEntry& entry, const WalkedEntry& top) {
    return entry.name == top.name || (entry.name.size() > top.name.size() &&
                                      entry.name.starts_with(top.name) && entry.name[top.name.size()] == '/');
  }

  bool is_training(std::string_view name) const {
    return std::any_of(facts_.training_entries.begin(), facts_.training_entries.end(),
                       [name](const TrainingEntry& entry) { return entry.name == name; });
  }

  bool has(std::string_view name) const { return files_.top().find(name) != nullptr; }

  bool has_like(std::string_view start, std::string_view end) const {
    const std::vector<PlacedEntry>& tops = files_.top().entries;
    return std::any_of(tops.begin(), tops.end(), [&](const PlacedEntry& entry) {
      return entry.base.starts_with(start) && entry.base.ends_with(end);
    });
  }

  // accelerate's save_state and the scripts of diffusers: they write no trainer_state.json, and the random
  // states last.
  bool is_accelerate() const {
    if (has("trainer_state.json")) return false;
    if (has_like("random_states_", ".pkl")) return true;
    const bool is_trainers = has("training_args.bin") || has("scheduler.pt") || has_like("rng_state", ".pth");
    return !is_trainers && (has_like("optimizer", ".bin") || has_like("scheduler", ".bin"));
  }

  // The Trainer wrote it, so it is not complete without the file that the Trainer writes last.
  bool needs_state() const {
    if (is_accelerate()) return false;
    if (options_.is_trainer) return true;
    const bool has_state = has("optimizer.pt") || has("scheduler.pt") || has_like("rng_state", ".pth");
    return has_state && (has("training_args.bin") || has_trainer_name());
  }

  bool has_trainer_name() const { return cached_role(facts_.name, true) == FileRole::kCheckpoint; }

  const SavedArguments& arguments() {
    if (arguments_) return *arguments_;
    const PlacedEntry* const entry = files_.top().find("training_args.bin");
    const bool is_there = entry != nullptr && !files_.leads_nowhere(*entry->entry);
    arguments_ = is_there ? read_saved_arguments(files_.open(*entry->entry)) : SavedArguments();
    return *arguments_;
  }

  // With save_on_each_node the Trainer of Transformers 5 writes everything on each node except the weights, which
  // only the first process of all writes.
  bool is_of_other_node() {
    const bool has_others = evidence_.has_rank_files && !evidence_.has_first_rank;
    return has_others && has("trainer_state.json") && arguments().saves_each_node;
  }

  void check_state() {
    const PlacedEntry* const state = files_.top().find("trainer_state.json");
    if (state == nullptr) {
      if (!evidence_.is_rank_only && needs_state()) evidence_.blame("trainer_state.json is missing");
      const bool ends_with_random_states = is_accelerate() && (options_.is_trainer || has_trainer_name());
      if (ends_with_random_states && !has_like("random_states_", ".pkl"))
        evidence_.blame("random_states_0.pkl is missing");
      return;
    }
    const WalkedEntry& entry = *state->entry;
    evidence_.is_recognised = true;
    facts_.state = entry.stamp;
    facts_.time_ns = entry.stamp.mtime_ns;
    has_state_ = true;
    try {
      const StateHead head = read_state_head(files_.open(entry), options_.deep);
      facts_.epoch = head.epoch;
      facts_.log = head.log;
      if (!options_.is_trainer && !has_trainer_name()) return;
      if (!head.global_step)
        evidence_.blame("trainer_state.json holds no step");
      else if (head.global_step != facts_.number)
        evidence_.blame(fmt::format("trainer_state.json is for step {}", *head.global_step));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kMalformed) throw;
      evidence_.blame(entry.size == 0 ? "trainer_state.json is empty"
                                      : "trainer_state.json: " + error.message());
    }
  }

  // A layout that we cannot assemble is not a fault of the checkpoint.
  static bool is_unsupported(const std::string& message) {
    constexpr std::string_view kRules[] = {"[ZR-TP]",   "[ZR-PIPE]", "[ZR-MOE]",   "[ZR-NVME]",
                                           "[ZR-MICS]", "[ZR-KIND]", "[DC-CLASS]", "[DC-XFORM]",
                                           "[DC-KEY]",  "[DC-OPT]",  "[DC-FLAT]"};
    return std::any_of(std::begin(kRules), std::end(kRules),
                       [&message](std::string_view rule) { return message.find(rule) != std::string::npos; });
  }

  void check_ranks_deeply() {
    std::optional<RankState> rank_states;
    try {
      rank_states = find_rank_state(path_);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kMalformed) throw;
    }
    const auto check = [this](auto open) {
      try {
        const Weights weights = open();
        if (const Finding* finding = weights.findings.first_up_to(Level::kLoads))
          evidence_.blame(finding->message);
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::kMalformed) throw;
        if (!is_unsupported(error.message())) evidence_.blame(error.message());
      }
    };
    if (rank_states) check([&rank_states] { return open_rank_state(*rank_states, "", true); });
    for (const PlacedEntry& top : files_.top().entries) {
      if (top.role == FileRole::kWeightsIndex)
        check([&] { return open_sharded(join_path(path_, top.entry->name)); });
    }
  }

  void find_training_entries() {
    // Complete weights make the partitions of the ranks dispensable, unless they may be placeholders.
    const bool whole = evidence_.has_weights && (!evidence_.is_stage3 || evidence_.has_safetensors);
    if (evidence_.is_rank_only) {
      facts_.slim_block = "it holds only files of ranks";
      return;
    }
    if (evidence_.is_zero && !whole) {
      facts_.slim_block = "its only weights are the partitions of the ranks";
      return;
    }
    if (!evidence_.has_weights && is_of_other_node()) {
      facts_.slim_block = "it holds no weights";
      return;
    }
    for (const PlacedEntry& top : files_.top().entries) {
      const bool of_ranks = top.role == FileRole::kRankState || top.role == FileRole::kRankHelper ||
                            (top.role == FileRole::kTorchWeights && is_fsdp_file(top.base));
      // accelerate's random states stay: without them nothing would show any more that the checkpoint is
      // complete.
      const bool is_mark = top.base.starts_with("random_states_");
      const bool training = top.role == FileRole::kOptimizer || top.role == FileRole::kScheduler ||
                            top.role == FileRole::kScaler || (top.role == FileRole::kRng && !is_mark);
      if (training || (of_ranks && whole))
        facts_.training_entries.push_back({top.entry->name, top.entry->stamp.id});
    }
    // The optimizer goes first. Whenever a kill comes, the Trainer then ignores the other entries, which mean
    // nothing without it.
    std::stable_sort(facts_.training_entries.begin(), facts_.training_entries.end(),
                     [](const TrainingEntry& a, const TrainingEntry& b) {
                       return a.name.starts_with("optimizer") > b.name.starts_with("optimizer");
                     });
    if (facts_.training_entries.empty()) facts_.slim_block = "nothing in it serves only for resuming";
  }

  void conclude() {
    facts_.has_optimizer = evidence_.has_optimizer || evidence_.is_zero;
    facts_.is_rank_only = evidence_.is_rank_only;
    facts_.rank_sets.assign(evidence_.rank_sets.begin(), evidence_.rank_sets.end());
    facts_.lacks_state = !has_state_ && !evidence_.is_rank_only && has_trainer_name() && !is_accelerate();
    facts_.doubt = evidence_.doubt;
    // What can show that a checkpoint is complete: files that are written last, metadata that name all
    // others, and names that say how many files there are.
    facts_.shows_complete = has_state_ || has_like("random_states_", ".pkl") || evidence_.has_own_dcp ||
                            evidence_.has_counted_zero || has("data.pt");
    if (evidence_.is_rank_only) facts_.shows_complete = false;
    facts_.why = evidence_.fault;
    facts_.condition = Condition::kTorn;
    if (!evidence_.fault.empty()) return;
    facts_.why = what_resuming_lacks();
    facts_.condition = facts_.why.empty() ? Condition::kResumable : Condition::kInferenceOnly;
    if (!facts_.why.empty() && !evidence_.is_rank_only)
      facts_.saves_model_only = arguments().saves_model_only;
  }

  // The Trainer restores optimizer and scheduler together or not at all. DeepSpeed may keep both in its own
  // files, and accelerate needs no scheduler. For other frameworks nothing shows what is lacking.
  std::string what_resuming_lacks() const {
    if (evidence_.is_rank_only) return "only files of some ranks, as on a node with its own disk";
    if (evidence_.is_zero) return has_state_ ? evidence_.lacks_tag : "";
    if (is_accelerate()) return evidence_.has_optimizer ? "" : "no optimizer";
    const bool is_trainers =
        needs_state() || (has_state_ && (evidence_.has_weights || evidence_.has_partitions));
    if (!is_trainers) return "";
    if (!evidence_.has_optimizer && !evidence_.has_scheduler) return "no optimizer, no scheduler";
    if (!evidence_.has_optimizer) return "no optimizer";
    return evidence_.has_scheduler ? "" : "no scheduler";
  }

  const std::string& path_;
  const Walk& walk_;
  const JudgeOptions& options_;
  CheckpointFacts& facts_;
  CheckpointFiles files_;
  Evidence evidence_;
  std::optional<SavedArguments> arguments_;  // once they were asked for
  bool has_state_ = false;
};

}  // namespace

bool is_unfinished_name(std::string_view name) {
  return name.ends_with(".tmp") || name.ends_with("-unfinished") || name.ends_with(".incomplete") ||
         name.find(".orbax-checkpoint-tmp") != std::string_view::npos;
}

bool judge_folder(int folder, const std::string& path, const Walk& walk, const JudgeOptions& options,
                  CheckpointFacts& facts) {
  facts.has_mount = facts.has_mount || walk.has_mount;
  Judge judge(folder, path, walk, options, facts);
  const bool is_recognised = judge.judge();
  judge.measure();
  if (facts.time_ns == 0) facts.time_ns = facts.changed_ns;
  return is_recognised;
}

bool judge_file(int run, const std::string& path, const WalkedEntry& entry, const JudgeOptions& options,
                CheckpointFacts& facts) {
  facts.time_ns = facts.changed_ns = entry.stamp.mtime_ns;
  facts.apparent_bytes = entry.size;
  facts.content_bytes[static_cast<std::size_t>(Content::kOther)] = entry.disk_bytes;
  if (entry.links > 1)
    facts.shared.push_back({entry.stamp.id, entry.disk_bytes, entry.links, false});
  else
    facts.bytes = entry.disk_bytes;
  facts.slim_block = "it is a single file";
  const InputFile file = InputFile::adopt(
      Fd(::openat(run, entry.name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)), path);
  const FileVerdict verdict = judge_single_file(file, entry.name, options.deep);
  facts.doubt = verdict.doubt;
  facts.why = verdict.fault;
  facts.shows_complete = verdict.shows_complete;
  facts.condition = verdict.fault.empty() ? Condition::kResumable : Condition::kTorn;
  return verdict.is_recognised;
}

std::vector<std::string> training_names(int folder, const std::string& path) {
  CheckpointFacts facts;
  facts.name = base_name(path);
  const Walk walk = walk_folder(folder, path);
  judge_folder(folder, path, walk, {}, facts);
  std::vector<std::string> names;
  for (const TrainingEntry& entry : facts.training_entries) names.push_back(entry.name);
  return names;
}

}  // namespace mu
