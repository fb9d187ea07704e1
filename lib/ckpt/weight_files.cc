// SPDX-License-Identifier: Apache-2.0
// How files of a single process are judged. The name and the role (model/roles.h) decide what a file is used
// for: weights, optimizer, scheduler, other state, config. Each file that a trainer or loader reads is probed
// at its two ends, which shows whether it was cut; all names that are not used are passed over. Every index
// is then compared with its shards, and shards without an index with their own numbers. Only if no weights
// were found by name are other files opened to see whether they hold tensors, since anything may be called
// .bin. Verdicts on names are remembered: ten thousand checkpoints have the same dozen names.

#include "ckpt/weight_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/glob.h"
#include "base/text.h"
#include "ckpt/layouts.h"
#include "model/folder.h"
#include "weights/index.h"
#include "weights/open/probe.h"
#include "weights/sniff.h"
#include "weights/torch/file.h"

namespace mu {
namespace {

std::vector<Glob> globs_of(std::initializer_list<std::string_view> patterns) {
  return {patterns.begin(), patterns.end()};
}

// Names that hand-written training loops give to their state, in addition to those in model/roles.h.
bool is_state_name(std::string_view base) {
  static const std::vector<Glob> globs =
      globs_of({"optim*.pt", "optim*.pth", "*optimizer.pt", "*optimizer.pth", "lr_scheduler*.pt",
                "*scheduler.pt", "train*_state*.pt", "extra_state*.pt", "data.pt", "common.pt"});
  return matches_any(globs, base);
}

bool is_optimizer_name(std::string_view base) {
  return base.starts_with("optim") || base.find("optimizer.p") != std::string_view::npos;
}

bool is_torch_name(std::string_view base) {
  return base.ends_with(".pt") || base.ends_with(".pth") || base.ends_with(".ckpt") ||
         base.ends_with(".safetensors");
}

// Files of an export to another runtime: OpenVINO, ONNX, Core ML.
bool is_foreign_name(std::string_view base) {
  return base.starts_with("openvino_") || base.ends_with(".onnx") || base.ends_with(".mlmodel");
}

// Files that may be weights under any name: formats that hold nothing else, or that only opening tells apart.
bool may_be_weights(const PlacedEntry& entry) {
  return (entry.role == FileRole::kWeights || entry.role == FileRole::kTorchWeights) &&
         !entry.base.ends_with(".json") && !is_foreign_name(entry.base);
}

// Judges by the content if the name says nothing: "model_100.pth.tar", "rl_model_1000_steps.zip". A pickle
// may be anything.
bool holds_tensors(const InputFile& file, std::string_view start) {
  using namespace std::string_view_literals;
  constexpr std::string_view kLegacyTorch = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46"sv;
  if (start.starts_with(kLegacyTorch) || looks_like_safetensors(start, file.size())) return true;
  if (!start.starts_with("PK")) return false;
  std::string tail(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), 64U << 10)), '\0');
  file.read_at(file.size() - tail.size(), std::as_writable_bytes(std::span(tail)));
  return tail.find("/data.pkl") != std::string::npos || tail.find(".pth") != std::string::npos;
}

// The name of the single file that a shard belongs to, "pytorch_model.bin" for
// "pytorch_model-00001-of-00002.bin"; empty if it is not a shard.
std::string whole_of_shard(std::string_view base) {
  const std::size_t dot = std::min(base.rfind('.'), base.size());
  const std::string stem(base.substr(0, dot));
  const std::string as_safetensors = stem + ".safetensors";
  const std::optional<ShardName> shard = parse_shard_name(as_safetensors);
  return shard ? std::string(shard->stem) + std::string(base.substr(dot)) : "";
}

enum class Use : std::uint8_t { kNone, kWeights, kFsdp, kOptimizer, kScheduler, kState, kConfig };

Use decide_use(const PlacedEntry& entry) {
  if (parse_rank_name(entry.base)) return Use::kNone;  // judged with those of other ranks
  switch (entry.role) {
    case FileRole::kWeights:
      if (entry.base.starts_with("optim")) return Use::kOptimizer;
      return is_weights_name(entry.base) ? Use::kWeights : Use::kNone;
    case FileRole::kTorchWeights:
      if (entry.base.ends_with(".json")) return Use::kNone;
      if (is_fsdp_file(entry.base)) return Use::kFsdp;
      if (is_weights_name(entry.base)) return Use::kWeights;
      if (!is_state_name(entry.base)) return Use::kNone;
      return is_optimizer_name(entry.base) ? Use::kOptimizer : Use::kState;
    case FileRole::kOptimizer:
      return Use::kOptimizer;
    case FileRole::kScheduler:
      return Use::kScheduler;
    case FileRole::kScaler:
    case FileRole::kRng:
      return Use::kState;
    case FileRole::kTrainerState:
      return entry.base == "trainer_state.json" ? Use::kNone : Use::kState;
    case FileRole::kTrainingArgs:
    case FileRole::kConfig:
    case FileRole::kAdapterConfig:
      return Use::kConfig;
    default:
      return Use::kNone;
  }
}

// In hand-written loops the weights may be in the file that is called the state.
bool is_all_in_one(const PlacedEntry& entry) {
  return entry.role == FileRole::kTorchWeights && entry.base.find("state") != std::string_view::npos &&
         entry.entry->size > 0;
}

// decide_use(), with a memory.
Use use_of(const PlacedEntry& entry) {
  constexpr std::size_t kMost = 4096;  // as in cached_role()
  thread_local std::unordered_map<std::string, Use> cache;
  if (cache.size() > kMost) cache.clear();
  const auto [found, fresh] = cache.try_emplace(std::string(entry.base), Use::kNone);
  if (fresh) found->second = decide_use(entry);
  return found->second;
}

class FileJudge {
 public:
  FileJudge(const CheckpointFiles& files, bool deep, Evidence& evidence)
      : files_(files), deep_(deep), evidence_(evidence) {}

  void judge() {
    for (const Place& place : files_.places()) {
      for (const PlacedEntry& entry : place.entries) {
        if (entry.entry->kind != WalkedEntry::Kind::kFolder) judge_entry(entry);
      }
    }
    for (const Place& place : files_.places()) judge_sets(place);
    // If no name that loaders know holds the weights, another may.
    if (evidence_.has_weights || evidence_.has_partitions) return;
    for (const Place& place : files_.places()) {
      for (const PlacedEntry& entry : place.entries) {
        if (entry.entry->kind == WalkedEntry::Kind::kFolder || !may_be_weights(entry)) continue;
        if (use_of(entry) == Use::kNone)
          judge_unknown(entry);
        else if (is_all_in_one(entry))
          found_weights(entry);
      }
    }
  }

 private:
  void judge_entry(const PlacedEntry& entry) {
    const Use use = use_of(entry);
    if (entry.role == FileRole::kOtherWeights && !is_foreign_name(entry.base) && entry.entry->size > 0)
      evidence_.is_recognised = evidence_.has_weights = true;
    if (use == Use::kNone) return;
    if (use == Use::kConfig && entry.base.ends_with(".json")) {
      if (files_.size_of(*entry.entry) == 0) evidence_.blame(entry.entry->name + ": is empty");
      return;
    }
    const std::uint64_t bytes = probe(entry);
    evidence_.is_recognised = evidence_.is_recognised || use != Use::kConfig;
    evidence_.has_optimizer = evidence_.has_optimizer || use == Use::kOptimizer;
    evidence_.has_scheduler = evidence_.has_scheduler || use == Use::kScheduler;
    evidence_.has_partitions = evidence_.has_partitions || use == Use::kFsdp;
    // What ZeRO stage 3 leaves in place of the weights has names but no data; in a .bin, only opening it
    // shows that.
    if (use == Use::kWeights && bytes > 0) found_weights(entry);
  }

  void judge_unknown(const PlacedEntry& entry) {
    if (parse_rank_name(entry.base)) return;
    Evidence own;
    const std::uint64_t bytes = probe_whole(files_, *entry.entry, own);
    // Anything may be called .bin.
    if (!own.fault.empty() && !is_torch_name(entry.base)) return;
    evidence_.is_recognised = true;
    evidence_.blame(own.fault);
    if (bytes > 0) found_weights(entry);
  }

  void found_weights(const PlacedEntry& entry) {
    evidence_.has_weights = true;
    evidence_.has_safetensors = evidence_.has_safetensors || entry.base.ends_with(".safetensors");
  }

  std::uint64_t probe(const PlacedEntry& entry) {
    std::uint64_t bytes = probe_whole(files_, *entry.entry, evidence_);
    if (!deep_ || !evidence_.fault.empty() || bytes == 0 || entry.base.ends_with(".pkl")) return bytes;
    std::string warning;
    const FileProbe probe = probe_deeply(files_.open(*entry.entry).path(), warning);
    if (!warning.empty()) evidence_.doubt = entry.entry->name + ": " + warning;
    if (!probe.fault.empty()) evidence_.blame(entry.entry->name + ": " + probe.fault);
    return probe.data_bytes;
  }

  // Compares every index with the shards beside it, and a set of shards with its own numbers. Loaders prefer
  // a single file to an index, which is then a leftover of an earlier save; only diffusers prefers the index.
  void judge_sets(const Place& place) {
    std::set<std::string> named;  // shards that an index names
    for (const PlacedEntry& entry : place.entries) {
      const bool is_torch = entry.role == FileRole::kTorchWeights && entry.base.ends_with(".index.json");
      if (entry.role != FileRole::kWeightsIndex && !is_torch) continue;
      evidence_.is_recognised = true;
      const bool single_wins = !entry.base.starts_with("diffusion_pytorch_model");
      if (single_wins && place.find(entry.base.substr(0, entry.base.rfind(".index"))) != nullptr) continue;
      try {
        judge_index(place, entry, named);
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::kMalformed) throw;
        evidence_.blame(entry.entry->name + ": " + error.message());
      }
    }
    for (const PlacedEntry& entry : place.entries) {
      const bool is_weights = entry.role == FileRole::kWeights || entry.role == FileRole::kTorchWeights;
      if (!is_weights || !is_weights_name(entry.base) || named.contains(std::string(entry.base))) continue;
      const std::string whole = whole_of_shard(entry.base);
      if (!whole.empty() && named.empty() && place.find(whole) == nullptr)
        evidence_.blame("the index of " + entry.entry->name + " is missing");
    }
  }

  void judge_index(const Place& place, const PlacedEntry& entry, std::set<std::string>& named) {
    Findings findings;
    const ShardIndex index =
        parse_shard_index(files_.open(*entry.entry).read_start(kMaxIndexBytes), entry.entry->name, findings);
    std::map<std::string_view, std::vector<std::string_view>> by_shard;
    for (const auto& [tensor, shard] : index.weight_map) by_shard[shard].push_back(tensor);
    for (const auto& [shard, tensors] : by_shard) {
      const PlacedEntry* const file = files_.find(place, shard);
      if (file == nullptr) {
        evidence_.blame(fmt::format("{} names {}, which is missing", entry.entry->name, escape_name(shard)));
        continue;
      }
      named.insert(std::string(shard));
      if (!is_weights_name(shard) && probe_whole(files_, *file->entry, evidence_) > 0) found_weights(*file);
      if (!evidence_.fault.empty()) return;
      if (const std::optional<std::string> name = first_lacking(*file->entry, tensors))
        evidence_.blame(fmt::format("{} names {}, which {} lacks", entry.entry->name, escape_name(*name),
                                    escape_name(shard)));
    }
  }

  std::optional<std::string> first_lacking(const WalkedEntry& shard,
                                           const std::vector<std::string_view>& names) {
    const InputFile file = files_.open(shard);
    std::unordered_set<std::string> held;
    try {
      if (shard.name.ends_with(".safetensors")) {
        held = safetensors_names(file);
      } else {
        Weights weights;
        add_torch_file(weights, files_.open(shard));
        for (const Tensor& tensor : weights.tensors) held.insert(tensor.name);
      }
    } catch (const Error& error) {
      // What we can't read torch may still read.
      if (error.kind() != ErrorKind::kMalformed) throw;
      return std::nullopt;
    }
    for (const std::string_view name : names) {
      if (!held.contains(std::string(name))) return std::string(name);
    }
    return std::nullopt;
  }

  const CheckpointFiles& files_;
  bool deep_;
  Evidence& evidence_;
};

}  // namespace

bool is_weights_name(std::string_view base) {
  static const std::vector<Glob> globs =
      globs_of({"model*.safetensors", "adapter_model*.safetensors", "diffusion_pytorch_model*.safetensors",
                "pytorch_model*.bin", "adapter_model*.bin", "diffusion_pytorch_model*.bin",
                "pytorch_lora_weights*", "pytorch_model*.safetensors", "consolidated*.safetensors",
                "consolidated*.pth", "value_head.safetensors", "value_head.bin", "learned_embeds*",
                "model.pt", "model.pth", "model_weights.ckpt"});
  return matches_any(globs, base);
}

bool is_fsdp_file(std::string_view base) {
  return glob_matches("pytorch_model_fsdp*.bin", base) || glob_matches("rank*-of-*-pytorch_model.bin", base);
}

std::uint64_t probe_whole(const CheckpointFiles& files, const WalkedEntry& entry, Evidence& evidence) {
  if (entry.kind == WalkedEntry::Kind::kFolder || entry.kind == WalkedEntry::Kind::kOther) return 0;
  if (files.leads_nowhere(entry)) {
    evidence.blame(entry.name + ": is a link that leads nowhere");
    return 0;
  }
  const InputFile file = files.open(entry);
  const FileProbe probe = file.size() == 0                       ? FileProbe{.fault = "is empty"}
                          : entry.name.ends_with(".safetensors") ? probe_safetensors(file)
                                                                 : probe_torch(file);
  if (!probe.fault.empty()) evidence.blame(entry.name + ": " + probe.fault);
  return probe.fault.empty() ? probe.data_bytes : 0;
}

void judge_files(const CheckpointFiles& files, bool deep, Evidence& evidence) {
  FileJudge(files, deep, evidence).judge();
}

void judge_adapters(const CheckpointFiles& files, Evidence& evidence) {
  if (evidence.has_partitions || evidence.is_rank_only) return;
  for (const Place& place : files.places()) {
    const bool has_weights =
        std::any_of(place.entries.begin(), place.entries.end(), [](const PlacedEntry& entry) {
          return may_be_weights(entry) && is_weights_name(entry.base) &&
                 !entry.base.starts_with("value_head");
        });
    if (place.find("adapter_config.json") != nullptr && !has_weights)
      evidence.blame(place.prefix +
                     "adapter_config.json is there, but the weights of the adapter are missing");
  }
}

FileVerdict judge_single_file(const InputFile& file, std::string_view base, bool deep) {
  FileVerdict verdict;
  const FileRole role = cached_role(std::string(base), false);
  const std::string start = file.read_start(512);
  const bool by_name = is_torch_name(base) || role == FileRole::kOtherWeights || is_weights_name(base) ||
                       role == FileRole::kOptimizer;
  verdict.is_recognised = !is_foreign_name(base) && (by_name || holds_tensors(file, start));
  if (!verdict.is_recognised || role == FileRole::kOtherWeights) return verdict;
  const FileProbe probe = file.size() == 0                 ? FileProbe{.fault = "is empty"}
                          : base.ends_with(".safetensors") ? probe_safetensors(file)
                                                           : probe_torch(file);
  verdict.fault = probe.fault;
  verdict.shows_complete = base.ends_with(".safetensors") || start.starts_with("PK");
  if (deep && verdict.fault.empty()) verdict.fault = probe_deeply(file.path(), verdict.doubt).fault;
  return verdict;
}

}  // namespace mu
