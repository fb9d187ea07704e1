// SPDX-License-Identifier: Apache-2.0
#include "ckpt/completeness.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/glob.h"
#include "base/text.h"
#include "ckpt/state_file.h"
#include "model/folder.h"
#include "model/roles.h"
#include "model/sharded.h"
#include "os/folder.h"
#include "weights/index.h"
#include "weights/probe.h"

namespace mu {
namespace {

// The same dozen names come ten thousand times.
FileRole cached_role(const std::string& name, bool is_folder) {
  constexpr std::size_t kMost = 4096;
  thread_local std::unordered_map<std::string, FileRole> cache;
  if (cache.size() > kMost) cache.clear();
  const auto [found, fresh] = cache.try_emplace((is_folder ? "/" : "") + name, FileRole::kOther);
  if (fresh) found->second = role_of(name, is_folder);
  return found->second;
}

struct TopEntry {
  const WalkedEntry* entry;
  FileRole role;
};

bool is_zero_state(std::string_view name) {
  return name.ends_with("_optim_states.pt") || name.ends_with("_model_states.pt");
}

Part part_of(FileRole role, std::string_view name) {
  switch (role) {
    case FileRole::kWeights:
    case FileRole::kWeightsIndex:
    case FileRole::kTorchWeights:
    case FileRole::kOtherWeights:
    case FileRole::kNamedAdapter:
      return Part::kWeights;
    case FileRole::kShardedState:
      return name.find("optim_states") != std::string_view::npos ||
                     name.find("offloaded_tensors") != std::string_view::npos
                 ? Part::kOptimizer
                 : Part::kWeights;
    case FileRole::kOptimizer:
      return Part::kOptimizer;
    case FileRole::kScheduler:
      return Part::kScheduler;
    case FileRole::kScaler:
      return Part::kScaler;
    case FileRole::kRng:
      return Part::kRng;
    case FileRole::kTrainerState:
    case FileRole::kTrainingArgs:
      return Part::kState;
    default:
      return Part::kOther;
  }
}

class Judge {
 public:
  Judge(int folder, const std::string& path, const Walk& walk, const JudgeOptions& options,
        CheckpointFacts& facts)
      : folder_(folder), path_(path), walk_(walk), options_(options), facts_(facts) {
    for (const WalkedEntry& entry : walk.entries) {
      if (entry.name.find('/') != std::string::npos) continue;
      top_.push_back({&entry, cached_role(entry.name, entry.kind == WalkedEntry::Kind::kFolder)});
    }
  }

  void judge() {
    check_markers();
    check_state();
    check_files();
    check_shard_sets();
    check_zero();
    check_dcp();
    check_rng();
    if (fault_.empty() && options_.is_trainer && !has_whole_ && !has_shares_) fault("no weights");
    if (fault_.empty() && options_.deep) check_shares_deeply();
    find_training_entries();
    conclude();
  }

  void measure() {
    std::size_t top = 0;
    for (const WalkedEntry& entry : walk_.entries) {
      while (top + 1 < top_.size() && !belongs(entry, *top_[top].entry)) ++top;
      const FileRole role = top_.empty() ? FileRole::kOther : top_[top].role;
      const bool training = !top_.empty() && is_training(top_[top].entry->name);
      facts_.apparent_bytes += entry.kind == WalkedEntry::Kind::kFile ? entry.size : 0;
      facts_.part_bytes[static_cast<std::size_t>(part_of(role, entry.name))] += entry.disk_bytes;
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

  void fault(std::string why) {
    if (fault_.empty()) fault_ = std::move(why);
  }

  InputFile open(const std::string& name) const {
    return InputFile::adopt(Fd(::openat(folder_, name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)),
                            join_path(path_, name));
  }

  void check_markers() {
    for (const WalkedEntry& entry : walk_.entries) {
      const std::string_view base = base_name(entry.name);
      if (base == "checkpoint-is-incomplete.txt") fault("the marker of a save that was cut off lies in it");
      if (base.ends_with(".tmp")) fault(entry.name + " was never finished");
      if (base.starts_with(".nfs")) fault("files are being deleted from it (" + entry.name + ")");
    }
    if (walk_.is_changing) fault("files vanish from it");
    const WalkedEntry* const keep = walk_.find("KEEP");
    facts_.has_keep_file = keep != nullptr;
  }

  void check_state() {
    const WalkedEntry* const entry = walk_.find("trainer_state.json");
    if (entry == nullptr) {
      if (options_.is_trainer) fault(top_.empty() ? "is empty" : "trainer_state.json is missing");
      return;
    }
    facts_.state = entry->stamp;
    facts_.time_ns = entry->stamp.mtime_ns;
    has_state_ = true;
    try {
      const StateHead head = read_state_head(open(entry->name), options_.deep);
      facts_.epoch = head.epoch;
      if (!options_.is_trainer) return;
      if (!head.global_step)
        fault("trainer_state.json says no step");
      else if (head.global_step != facts_.number)
        fault(fmt::format("trainer_state.json is of step {}", *head.global_step));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kMalformed) throw;
      fault(entry->size == 0 ? "trainer_state.json is empty" : "trainer_state.json: " + error.message());
    }
  }

  // One file of tensors or of pickled state.
  void check_file(const WalkedEntry& entry, FileRole role) {
    if (entry.kind == WalkedEntry::Kind::kFolder || entry.kind == WalkedEntry::Kind::kOther) return;
    const bool is_safetensors = entry.name.ends_with(".safetensors");
    const bool is_json = entry.name.ends_with(".json");
    if (is_json && entry.kind == WalkedEntry::Kind::kFile) {
      if (entry.size == 0) fault(entry.name + ": is empty");
      return;
    }
    FileProbe probe;
    try {
      const InputFile file = open(entry.name);
      if (file.size() == 0)
        probe.fault = "is empty";
      else if (is_safetensors)
        probe = probe_safetensors(file);
      else if (!is_json && !entry.name.ends_with(".pkl"))
        probe = probe_torch(file);
      if (options_.deep && probe.fault.empty() && !is_json) {
        std::string warning;
        probe = probe_deeply(file.path(), warning);
        if (!warning.empty()) facts_.doubt = entry.name + ": " + warning;
      }
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kIo || entry.kind != WalkedEntry::Kind::kLink) throw;
      probe.fault = "is a link that leads nowhere";
    }
    if (!probe.fault.empty()) fault(entry.name + ": " + probe.fault);
    const bool is_weights = role == FileRole::kWeights || role == FileRole::kTorchWeights;
    if (!is_weights || probe.data_bytes == 0) return;
    // What ZeRO stage 3 leaves in place of weights has names and no data; in a .bin only opening it would
    // tell.
    has_whole_ = true;
    has_whole_safetensors_ = has_whole_safetensors_ || is_safetensors;
  }

  // Torch files that hold a second copy of the weights, or one rank's share, for resuming under FSDP.
  static bool is_fsdp_file(std::string_view name) {
    return glob_matches("pytorch_model_fsdp*.bin", name) ||
           glob_matches("rank*-of-*-pytorch_model.bin", name);
  }

  void check_files() {
    for (const TopEntry& top : top_) {
      const std::string& name = top.entry->name;
      switch (top.role) {
        case FileRole::kTorchWeights:
          if (name.ends_with(".json")) break;
          if (is_fsdp_file(name)) {
            has_shares_ = true;
            check_file(*top.entry, FileRole::kOther);
            break;
          }
          [[fallthrough]];
        case FileRole::kWeights:
        case FileRole::kConfig:
        case FileRole::kAdapterConfig:
        case FileRole::kTrainingArgs:
          check_file(*top.entry, top.role);
          break;
        case FileRole::kOtherWeights:
          has_whole_ = has_whole_ || top.entry->size > 0;
          break;
        case FileRole::kOptimizer:
          has_optimizer_ = true;
          check_file(*top.entry, top.role);
          break;
        case FileRole::kScheduler:
          has_scheduler_ = true;
          [[fallthrough]];
        case FileRole::kScaler:
        case FileRole::kRng:
          check_file(*top.entry, top.role);
          break;
        default:
          break;
      }
    }
    for (const WalkedEntry& entry : walk_.entries) {
      const std::size_t slash = entry.name.find('/');
      if (slash == std::string::npos) continue;
      const std::string_view base = base_name(entry.name);
      if (base == "adapter_model.safetensors" || base == "adapter_model.bin")
        check_file(entry, FileRole::kWeights);
    }
  }

  // Every index against the shards beside it; a set of shards against its own numbers. A single file wins
  // over an index, which is then a leftover of an earlier save.
  void check_shard_sets() {
    std::set<std::string> named;  // shards that an index names
    for (const TopEntry& top : top_) {
      const std::string& name = top.entry->name;
      const bool torch_index = top.role == FileRole::kTorchWeights && name.ends_with(".index.json");
      if (top.role != FileRole::kWeightsIndex && !torch_index) continue;
      if (walk_.find(name.substr(0, name.rfind(".index"))) != nullptr) continue;
      try {
        const InputFile file = open(name);
        std::string text(static_cast<std::size_t>(std::min(file.size(), kMaxIndexBytes)), '\0');
        file.read_at(0, std::as_writable_bytes(std::span(text)));
        Findings findings;
        for (const std::string& shard : parse_shard_index(text, name, findings).shards) {
          if (walk_.find(shard) == nullptr) fault(name + " names " + shard + ", which is missing");
          named.insert(shard);
        }
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::kMalformed) throw;
        fault(name + ": " + error.message());
      }
    }
    for (const TopEntry& top : top_) {
      const std::optional<ShardName> shard =
          top.role == FileRole::kWeights ? parse_shard_name(top.entry->name) : std::nullopt;
      if (!shard || named.contains(top.entry->name)) continue;
      const std::string single = std::string(shard->stem) + ".safetensors";
      if (named.empty() && walk_.find(single) == nullptr)
        fault("the index of " + top.entry->name + " is missing");
    }
  }

  void check_zero() {
    std::string tag;
    if (const WalkedEntry* latest = walk_.find("latest"); latest != nullptr && latest->size < 256) {
      const InputFile file = open("latest");
      tag.resize(static_cast<std::size_t>(file.size()));
      file.read_at(0, std::as_writable_bytes(std::span(tag)));
      tag = trim(tag);
      if (tag.empty()) fault("latest is empty");
      if (walk_.find(tag) == nullptr && !tag.empty()) fault("latest names " + tag + ", which is missing");
    }
    std::map<std::uint64_t, std::set<std::uint64_t>> optimizer_ranks;  // by model-parallel rank
    std::set<std::uint64_t> model_ranks;
    for (const WalkedEntry& entry : walk_.entries) {
      const std::string_view base = base_name(entry.name);
      if (entry.name.find('/') == std::string::npos || !is_zero_state(base)) continue;
      if (!tag.empty() && !entry.name.starts_with(tag + "/")) continue;
      has_shares_ = true;
      check_file(entry, FileRole::kShardedState);
      std::string_view name = base;
      if (name.starts_with("bf16_")) name.remove_prefix(5);
      unsigned long long rank = 0, model_rank = 0;
      if (std::sscanf(std::string(name).c_str(), "zero_pp_rank_%llu_mp_rank_%llu_", &rank, &model_rank) != 2)
        continue;
      if (name.ends_with("_optim_states.pt")) {
        optimizer_ranks[model_rank].insert(rank);
      } else {
        model_ranks.insert(rank);
        is_stage3_ = true;
      }
    }
    is_zero_ = has_shares_ && (!optimizer_ranks.empty() || !tag.empty());
    const std::size_t processes = static_cast<std::size_t>(std::count_if(
        top_.begin(), top_.end(), [](const TopEntry& top) { return top.role == FileRole::kRng; }));
    for (const auto& [model_rank, ranks] : optimizer_ranks) {
      const bool gap = *ranks.rbegin() + 1 != ranks.size();
      const bool short_of_processes =
          optimizer_ranks.size() == 1 && processes > 1 && ranks.size() != processes;
      if (gap || short_of_processes)
        fault(fmt::format("optimizer shares of {} ranks, {} expected", ranks.size(),
                          gap ? *ranks.rbegin() + 1 : processes));
      if (is_stage3_ && model_ranks.size() != ranks.size())
        fault(fmt::format("model shares of {} ranks, {} expected", model_ranks.size(), ranks.size()));
    }
  }

  void check_dcp() {
    for (const TopEntry& top : top_) {
      if (top.entry->kind != WalkedEntry::Kind::kFolder) continue;
      const std::string prefix = top.entry->name + "/";
      const bool is_dcp = std::any_of(walk_.entries.begin(), walk_.entries.end(), [&](const WalkedEntry& e) {
        return e.name.starts_with(prefix) && e.name.ends_with(".distcp");
      });
      const WalkedEntry* const metadata = walk_.find(prefix + ".metadata");
      const bool expected =
          top.role == FileRole::kOptimizer || glob_matches("pytorch_model_fsdp_[0-9]*", top.entry->name);
      if (!is_dcp && metadata == nullptr && !expected) continue;
      // The coordinator writes the metadata last and renames it into place.
      if (metadata == nullptr || metadata->size == 0) fault(prefix + ".metadata is missing");
      if (!is_dcp) fault(top.entry->name + " holds no shares");
      if (top.role == FileRole::kShardedState) has_shares_ = true;
    }
  }

  void check_rng() {
    std::set<std::uint64_t> ranks;
    for (const TopEntry& top : top_) {
      unsigned long long rank = 0;
      if (top.role == FileRole::kRng &&
          std::sscanf(top.entry->name.c_str(), "rng_state_%llu.pth", &rank) == 1)
        ranks.insert(rank);
    }
    if (!ranks.empty() && *ranks.rbegin() + 1 != ranks.size())
      fault(fmt::format("random states of {} ranks, {} expected", ranks.size(), *ranks.rbegin() + 1));
  }

  void check_shares_deeply() {
    try {
      if (const std::optional<ShardedState> shares = find_sharded_state(path_)) {
        const Weights weights = open_sharded_state(*shares, "", true);
        if (const Finding* finding = weights.findings.first_up_to(Level::kLoads)) fault(finding->message);
      }
      for (const TopEntry& top : top_) {
        if (top.role != FileRole::kWeightsIndex) continue;
        const Weights weights = open_sharded(join_path(path_, top.entry->name));
        if (const Finding* finding = weights.findings.first_up_to(Level::kLoads)) fault(finding->message);
      }
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kMalformed) throw;
      fault(error.message());
    }
  }

  void find_training_entries() {
    // Whole weights that are surely not placeholders make the shares dispensable.
    const bool whole = has_whole_ && (!is_stage3_ || has_whole_safetensors_);
    if (is_zero_ && !whole) {
      facts_.slim_block = "its only weights lie in the shares of the ranks";
      return;
    }
    for (const TopEntry& top : top_) {
      const bool share = top.role == FileRole::kShardedState || top.role == FileRole::kShardedHelper ||
                         (top.role == FileRole::kTorchWeights && is_fsdp_file(top.entry->name));
      const bool training = top.role == FileRole::kOptimizer || top.role == FileRole::kScheduler ||
                            top.role == FileRole::kScaler || top.role == FileRole::kRng;
      if (training || (share && whole))
        facts_.training_entries.push_back({top.entry->name, top.entry->stamp.id});
    }
    // The optimizer first: without it the others mean nothing to the Trainer, whenever a kill comes.
    std::stable_sort(facts_.training_entries.begin(), facts_.training_entries.end(),
                     [](const TrainingEntry& a, const TrainingEntry& b) {
                       return a.name.starts_with("optimizer") > b.name.starts_with("optimizer");
                     });
    if (facts_.training_entries.empty()) facts_.slim_block = "nothing in it is for resuming only";
  }

  void conclude() {
    facts_.has_optimizer = has_optimizer_ || is_zero_;
    if (!fault_.empty()) {
      facts_.condition = Condition::kTorn;
      facts_.why = fault_;
      return;
    }
    // Optimizer and scheduler are restored together or not at all; DeepSpeed may keep both in its shares. Of
    // other frameworks' folders only those that look like the Trainer's can be told to lack something.
    const bool known = options_.is_trainer || (has_state_ && (has_whole_ || has_shares_));
    const bool resumable = is_zero_ || (has_optimizer_ && has_scheduler_) || !known;
    facts_.condition = resumable ? Condition::kResumable : Condition::kInferenceOnly;
    if (!resumable)
      facts_.why = has_optimizer_   ? "no scheduler"
                   : has_scheduler_ ? "no optimizer"
                                    : "no optimizer, no scheduler";
  }

  int folder_;
  const std::string& path_;
  const Walk& walk_;
  const JudgeOptions& options_;
  CheckpointFacts& facts_;
  std::vector<TopEntry> top_;
  std::string fault_;
  bool has_state_ = false, has_whole_ = false, has_whole_safetensors_ = false, has_shares_ = false;
  bool has_optimizer_ = false, has_scheduler_ = false, is_zero_ = false, is_stage3_ = false;
};

}  // namespace

void judge_folder(int folder, const std::string& path, const Walk& walk, const JudgeOptions& options,
                  CheckpointFacts& facts) {
  facts.has_mount = facts.has_mount || walk.has_mount;
  Judge judge(folder, path, walk, options, facts);
  judge.judge();
  judge.measure();
  if (facts.time_ns == 0) facts.time_ns = facts.changed_ns;
}

void judge_file(int run, const std::string& path, const WalkedEntry& entry, const JudgeOptions& options,
                CheckpointFacts& facts) {
  facts.time_ns = facts.changed_ns = entry.stamp.mtime_ns;
  facts.apparent_bytes = entry.size;
  facts.part_bytes[static_cast<std::size_t>(Part::kOther)] = entry.disk_bytes;
  if (entry.links > 1)
    facts.shared.push_back({entry.stamp.id, entry.disk_bytes, entry.links, false});
  else
    facts.bytes = entry.disk_bytes;
  facts.slim_block = "one file, which is not cut up";
  const InputFile file = InputFile::adopt(
      Fd(::openat(run, entry.name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)), path);
  FileProbe probe;
  std::string warning;
  const FileRole role = cached_role(entry.name, false);
  if (file.size() == 0)
    probe.fault = "is empty";
  else if (role == FileRole::kWeights)
    probe = probe_safetensors(file);
  else if (role != FileRole::kOther)
    probe = probe_torch(file);
  if (options.deep && probe.fault.empty() && role != FileRole::kOther) probe = probe_deeply(path, warning);
  facts.doubt = warning;
  facts.why = probe.fault;
  facts.condition = probe.fault.empty() ? Condition::kResumable : Condition::kTorn;
}

std::vector<std::string> training_names(int folder, const std::string& path) {
  CheckpointFacts facts;
  const Walk walk = walk_folder(folder, path);
  judge_folder(folder, path, walk, {}, facts);
  std::vector<std::string> names;
  for (const TrainingEntry& entry : facts.training_entries) names.push_back(entry.name);
  return names;
}

}  // namespace mu
