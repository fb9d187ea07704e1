// SPDX-License-Identifier: Apache-2.0
// What each file of a model, adapter, checkpoint or run folder is for, by its name. The names are those that
// Transformers, PEFT, TRL, accelerate, DeepSpeed and torch write.
#pragma once

#include <cstdint>
#include <string_view>

namespace mu {

enum class FileRole : std::uint8_t {
  // what a model is published with
  kWeights,       // safetensors of a model or adapter
  kWeightsIndex,  // of a safetensors set
  kConfig,
  kGenerationConfig,
  kTokenizer,
  kProcessor,
  kChatTemplate,
  kAdapterConfig,
  kNamedAdapter,  // a folder that holds a further adapter
  kDocument,      // model card, licence
  // what stays behind
  kCode,          // Python; taken only where a config's auto_map names it
  kTorchWeights,  // .bin, .pt, .pth, .ckpt
  kOtherWeights,  // h5, msgpack, onnx, gguf
  kOptimizer,
  kScheduler,
  kScaler,
  kRng,
  kTrainingArgs,
  kTrainerState,
  kRankState,   // global_step*, torch distributed checkpoints
  kRankHelper,  // latest, zero_to_fp32.py
  kLog,         // TensorBoard events, results
  kCheckpoint,  // a checkpoint-N folder
  kIncomplete,  // the marker of a save that was cut off
  kHidden,      // .git, .cache and other names with a dot
  kOther,
};

// The role of an entry of a folder. A folder's contents are not looked at.
FileRole role_of(std::string_view name, bool is_folder);

std::string_view role_name(FileRole role);  // as JSON has it: "tokenizer", one or two words
std::string_view role_text(FileRole role);  // the same as people read it

// True for what belongs into a published model folder.
bool is_published(FileRole role);

// One clause on why a file is left out of a published folder.
std::string_view why_left(FileRole role);

}  // namespace mu
