// SPDX-License-Identifier: Apache-2.0
// A role is looked up by name: plain names in a hash table, as folders with many checkpoints ask a million
// times, then patterns in order. The rules here are those of trainers and of weights; the many names of
// tokenizers and processors come from data/processor_files.txt, which is made from the library's source.
#include "model/roles.h"

#include <array>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/glob.h"
#include "base/text.h"
#include "model/tables.h"

namespace mu {
namespace {

struct Rule {
  std::string_view pattern;
  FileRole role;
};

// The first pattern that matches decides.
constexpr std::array kFiles = std::to_array<Rule>({
    {"config.json", FileRole::kConfig},
    {"quantize_config.json", FileRole::kConfig},
    {"quant_config.json", FileRole::kConfig},
    {"hf_quant_config.json", FileRole::kConfig},
    {"recipe.yaml", FileRole::kConfig},
    {"modules.json", FileRole::kConfig},
    {"config_sentence_transformers.json", FileRole::kConfig},
    {"sentence_*_config.json", FileRole::kConfig},
    {"router_config.json", FileRole::kConfig},
    {"model_index.json", FileRole::kConfig},
    {"scheduler_config.json", FileRole::kConfig},
    {"generation_config.json", FileRole::kGenerationConfig},
    {"adapter_config.json", FileRole::kAdapterConfig},
    {"tokenizer.model.v[0-9]*", FileRole::kTokenizer},
    {"*.spm", FileRole::kTokenizer},
    {"*.tiktoken", FileRole::kTokenizer},
    {"*tekken*.json", FileRole::kTokenizer},     // transformers, integrations/mistral/constants.py
    {"tokenizer.*.json", FileRole::kTokenizer},  // for a version of transformers, tokenization_utils_base.py
    {"README.md", FileRole::kDocument},
    {"LICENSE*", FileRole::kDocument},
    {"LICENCE*", FileRole::kDocument},
    {"NOTICE*", FileRole::kDocument},
    {"USE_POLICY*", FileRole::kDocument},
    {"*.safetensors", FileRole::kWeights},
    {"*.safetensors.index*.json", FileRole::kWeightsIndex},
    {"optimizer*.pt*", FileRole::kOptimizer},
    {"optimizer*.bin", FileRole::kOptimizer},
    {"rank*-of-*-optimizer.pt", FileRole::kOptimizer},
    {"scheduler*.pt", FileRole::kScheduler},
    {"scheduler*.bin", FileRole::kScheduler},
    {"scaler*.pt", FileRole::kScaler},
    {"rng_state*.pth", FileRole::kRng},
    {"random_states_*.pkl", FileRole::kRng},
    {"training_args.bin", FileRole::kTrainingArgs},
    {"trainer_state.json", FileRole::kTrainerState},
    {"sampler*.bin", FileRole::kTrainerState},
    {"dl_state_dict.bin", FileRole::kTrainerState},
    {"custom_checkpoint_*.pkl", FileRole::kTrainerState},
    {"user_content.pt", FileRole::kTrainerState},
    {"latest", FileRole::kRankHelper},
    {"latest_universal", FileRole::kRankHelper},
    {"zero_to_fp32.py", FileRole::kRankHelper},
    {"zero_to_torch.py", FileRole::kRankHelper},
    {"pytorch_model*.bin.index.json", FileRole::kTorchWeights},
    {"*.bin", FileRole::kTorchWeights},
    {"*.pt", FileRole::kTorchWeights},
    {"*.pth", FileRole::kTorchWeights},
    {"*.ckpt", FileRole::kTorchWeights},
    {"*.h5", FileRole::kOtherWeights},
    {"*.msgpack", FileRole::kOtherWeights},
    {"*.onnx", FileRole::kOtherWeights},
    {"*.gguf", FileRole::kOtherWeights},
    {"events.out.tfevents*", FileRole::kLog},
    {"*_results.json", FileRole::kLog},
    {"trainer_log.jsonl", FileRole::kLog},
    {"training_loss*.png", FileRole::kLog},
    {"checkpoint-is-incomplete.txt", FileRole::kIncomplete},
    {"*.py", FileRole::kCode},
});

constexpr std::array kFolders = std::to_array<Rule>({
    {"global_step*", FileRole::kRankState},
    {"zero", FileRole::kRankState},
    {"pytorch_model_fsdp_[0-9]*", FileRole::kRankState},
    {"optimizer_[0-9]*", FileRole::kOptimizer},
    {"runs", FileRole::kLog},
    {"wandb", FileRole::kLog},
    {"completions", FileRole::kLog},
});

// "checkpoint-" and digits without a leading zero, nothing else.
bool is_checkpoint_name(std::string_view name) {
  constexpr std::string_view kPrefix = "checkpoint-";
  if (!name.starts_with(kPrefix)) return false;
  const std::string_view digits = name.substr(kPrefix.size());
  return is_digits(digits) && (digits.size() == 1 || digits.front() != '0');
}

FileRole role_of_kind(std::string_view kind) {
  return kind == "tokenizer"  ? FileRole::kTokenizer
         : kind == "template" ? FileRole::kChatTemplate
                              : FileRole::kProcessor;
}

class Roles {
 public:
  Roles(std::span<const Rule> rules, bool of_folders) {
    for (const Rule& rule : rules) {
      if (rule.pattern.find_first_of("*?[") == std::string_view::npos) {
        names_.emplace(rule.pattern, rule.role);
      } else {
        patterns_.emplace_back(Glob(rule.pattern), rule.role);
      }
    }
    for (const std::string_view line : split(kProcessorFiles, '\n')) {
      const std::size_t tab = line.find('\t');
      if (line.starts_with('#') || tab == std::string_view::npos) continue;
      std::string_view name = line.substr(tab + 1);
      if (name.ends_with('/') != of_folders) continue;
      if (of_folders) name.remove_suffix(1);
      names_.emplace(name, role_of_kind(line.substr(0, tab)));
    }
  }

  [[nodiscard]] FileRole of(std::string_view name) const {
    if (const auto found = names_.find(name); found != names_.end()) return found->second;
    for (const auto& [pattern, role] : patterns_) {
      if (pattern.matches(name)) return role;
    }
    return FileRole::kOther;
  }

 private:
  std::unordered_map<std::string_view, FileRole> names_;
  std::vector<std::pair<Glob, FileRole>> patterns_;
};

}  // namespace

FileRole role_of(std::string_view name, bool is_folder) {
  if (name.starts_with('.')) return FileRole::kHidden;
  if (is_folder && is_checkpoint_name(name)) return FileRole::kCheckpoint;
  static const Roles folders(kFolders, true);
  static const Roles files(kFiles, false);
  return (is_folder ? folders : files).of(name);
}

std::string_view role_name(FileRole role) {
  switch (role) {
    case FileRole::kWeights:
      return "weights";
    case FileRole::kWeightsIndex:
      return "index";
    case FileRole::kConfig:
      return "config";
    case FileRole::kGenerationConfig:
      return "generation config";
    case FileRole::kTokenizer:
      return "tokenizer";
    case FileRole::kProcessor:
      return "processor";
    case FileRole::kChatTemplate:
      return "chat template";
    case FileRole::kAdapterConfig:
      return "adapter config";
    case FileRole::kNamedAdapter:
      return "adapter";
    case FileRole::kDocument:
      return "document";
    case FileRole::kCode:
      return "code";
    case FileRole::kTorchWeights:
      return "torch weights";
    case FileRole::kOtherWeights:
      return "other weights";
    case FileRole::kOptimizer:
      return "optimizer";
    case FileRole::kScheduler:
      return "scheduler";
    case FileRole::kScaler:
      return "scaler";
    case FileRole::kRng:
      return "rng";
    case FileRole::kTrainingArgs:
      return "training arguments";
    case FileRole::kTrainerState:
      return "trainer state";
    case FileRole::kRankState:
      return "sharded state";  // JSON keeps this word for what ranks save
    case FileRole::kRankHelper:
      return "sharded helper";
    case FileRole::kLog:
      return "log";
    case FileRole::kCheckpoint:
      return "checkpoint";
    case FileRole::kIncomplete:
      return "incomplete marker";
    case FileRole::kHidden:
      return "hidden";
    case FileRole::kOther:
      return "other";
  }
  return "other";
}

std::string_view role_text(FileRole role) {
  if (role == FileRole::kRankState) return "state of ranks";
  if (role == FileRole::kRankHelper) return "helper of ranks";
  return role_name(role);
}

bool is_published(FileRole role) {
  return role <= FileRole::kDocument;
}

std::string_view why_left(FileRole role) {
  switch (role) {
    case FileRole::kOptimizer:
    case FileRole::kScheduler:
    case FileRole::kScaler:
    case FileRole::kRng:
    case FileRole::kRankState:
      return "training state, of use only to resume";
    case FileRole::kRankHelper:
      return "belongs to the training state of the ranks";
    case FileRole::kTrainerState:
      return "training progress";
    case FileRole::kTrainingArgs:
      return "a pickle of training arguments, may hold paths and tokens";
    case FileRole::kLog:
      return "training log";
    case FileRole::kCheckpoint:
      return "a checkpoint of its own";
    case FileRole::kCode:
      return "no config names it";
    case FileRole::kTorchWeights:
    case FileRole::kOtherWeights:
      return "weights in another format";
    case FileRole::kIncomplete:
      return "marks a save that was cut off";
    case FileRole::kHidden:
      return "hidden";
    default:
      return "not known to belong to a model";
  }
}

}  // namespace mu
