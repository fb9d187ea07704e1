// SPDX-License-Identifier: Apache-2.0
#include "model/roles.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "base/glob.h"
#include "base/text.h"

namespace mu {
namespace {

struct Rule {
  std::string_view pattern;
  FileRole role;
};

// The first rule that matches decides.
constexpr std::array kFiles = std::to_array<Rule>({
    {"config.json", FileRole::kConfig},
    {"quantize_config.json", FileRole::kConfig},
    {"hf_quant_config.json", FileRole::kConfig},
    {"recipe.yaml", FileRole::kConfig},
    {"generation_config.json", FileRole::kGenerationConfig},
    {"adapter_config.json", FileRole::kAdapterConfig},
    {"tokenizer.json", FileRole::kTokenizer},
    {"tokenizer_config.json", FileRole::kTokenizer},
    {"tokenizer.model", FileRole::kTokenizer},
    {"tokenizer.model.v[0-9]*", FileRole::kTokenizer},
    {"special_tokens_map.json", FileRole::kTokenizer},
    {"added_tokens.json", FileRole::kTokenizer},
    {"vocab.json", FileRole::kTokenizer},
    {"vocab.txt", FileRole::kTokenizer},
    {"merges.txt", FileRole::kTokenizer},
    {"spiece.model", FileRole::kTokenizer},
    {"sentencepiece.bpe.model", FileRole::kTokenizer},
    {"*.spm", FileRole::kTokenizer},
    {"bpe.codes", FileRole::kTokenizer},
    {"tekken.json", FileRole::kTokenizer},
    {"*.tiktoken", FileRole::kTokenizer},
    {"normalizer.json", FileRole::kTokenizer},
    {"preprocessor_config.json", FileRole::kProcessor},
    {"video_preprocessor_config.json", FileRole::kProcessor},
    {"processor_config.json", FileRole::kProcessor},
    {"audio_tokenizer_config.json", FileRole::kProcessor},
    {"chat_template.jinja", FileRole::kChatTemplate},
    {"chat_template.json", FileRole::kChatTemplate},
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
    {"additional_chat_templates", FileRole::kChatTemplate},
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

// A rule prepared for folders of many files; most rules are plain names.
struct Matcher {
  Matcher(const Rule& rule) : name(rule.pattern), role(rule.role) {
    if (name.find_first_of("*?[") != std::string_view::npos) glob.emplace(name);
  }
  [[nodiscard]] bool matches(std::string_view text) const {
    return glob ? glob->matches(text) : text == name;
  }

  std::string_view name;
  FileRole role;
  std::optional<Glob> glob;
};

}  // namespace

FileRole role_of(std::string_view name, bool is_folder) {
  if (name.starts_with('.')) return FileRole::kHidden;
  if (is_folder && is_checkpoint_name(name)) return FileRole::kCheckpoint;
  static const std::vector<Matcher> folders(kFolders.begin(), kFolders.end());
  static const std::vector<Matcher> files(kFiles.begin(), kFiles.end());
  for (const Matcher& matcher : is_folder ? folders : files) {
    if (matcher.matches(name)) return matcher.role;
  }
  return FileRole::kOther;
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
