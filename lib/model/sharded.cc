// SPDX-License-Identifier: Apache-2.0
#include "model/sharded.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/glob.h"
#include "base/text.h"
#include "os/folder.h"
#include "tensor/cast.h"
#include "weights/dcp.h"
#include "weights/zero.h"

namespace mu {
namespace {

// Files of other ways to save shares, and what to do about them.
void refuse_other_kinds(const std::string& folder, const std::vector<FolderEntry>& entries) {
  const auto refuse = [&folder](const std::string& name, std::string_view why, std::string_view advice) {
    throw malformed(fmt::format("{}: {}", escape_name(name), why)).in_file(escape_name(folder)).hint(advice);
  };
  for (const FolderEntry& entry : entries) {
    const std::string& name = entry.name;
    if (Glob("pytorch_model_fsdp_rank*.bin").matches(name) ||
        Glob("pytorch_model_fsdp_[0-9]*_rank*.bin").matches(name))
      refuse(name, "shares that single ranks of FSDP pickled: their flat parameters can't be cut up",
             "save with SHARDED_STATE_DICT or FULL_STATE_DICT");
    if (Glob("model_world_size_*_rank_*.pt").matches(name))
      refuse(name, "DTensor pickles of single ranks are not read",
             "merge them with the program that wrote them");
    if (name.ends_with(".nemo") || (name == "context" && entry.kind == FolderEntry::Kind::kFolder))
      refuse(name, "a checkpoint of NeMo: its names and layouts are those of Megatron",
             "export it with NeMo");
    const bool rank_folder =
        entry.kind == FolderEntry::Kind::kFolder && Glob("mp_rank_[0-9][0-9]*").matches(name);
    if (rank_folder || name == "latest_checkpointed_iteration.txt")
      refuse(name, "a checkpoint of Megatron: layers are stacked and weights permuted",
             "convert it with Megatron-Bridge");
  }
}

bool replace_part(std::string& name, std::string_view part, std::string_view by) {
  const std::size_t at = name.find(part);
  if (at == std::string::npos) return false;
  name.replace(at, part.size(), by);
  return true;
}

bool is_adapter_tensor(std::string_view name) {
  return name.find("lora_") != std::string_view::npos ||
         name.find(".modules_to_save.") != std::string_view::npos ||
         name.find("trainable_tokens_") != std::string_view::npos;
}

}  // namespace

std::optional<ShardedState> find_sharded_state(const std::string& folder) {
  if (is_zero_folder(folder)) return ShardedState{folder, ShardedState::Kind::kZero};
  if (is_dcp_folder(folder)) return ShardedState{folder, ShardedState::Kind::kDcp};
  const std::vector<FolderEntry> entries = list_folder(folder);
  std::vector<ShardedState> found;
  for (const FolderEntry& entry : entries) {
    if (entry.kind != FolderEntry::Kind::kFolder) continue;
    const std::string path = join_path(folder, entry.name);
    if (Glob("pytorch_model_fsdp_[0-9]*").matches(entry.name) && is_dcp_folder(path))
      return ShardedState{path, ShardedState::Kind::kDcp};
    if (entry.name.starts_with("global_step") && is_zero_folder(path))
      found.push_back({path, ShardedState::Kind::kZero});
  }
  if (exists(join_path(folder, "latest")))
    return ShardedState{zero_tag_folder(folder), ShardedState::Kind::kZero};
  if (found.size() > 1)
    throw malformed("several saves of DeepSpeed lie here and no file 'latest' names one")
        .in_file(escape_name(folder))
        .hint("name the one you mean");
  if (found.size() == 1) return found.front();
  if (const std::string pieces = dcp_pieces_folder(folder); !pieces.empty())
    return ShardedState{pieces, ShardedState::Kind::kDcpPieces};
  refuse_other_kinds(folder, entries);
  return std::nullopt;
}

Weights open_sharded_state(const ShardedState& state) {
  switch (state.kind) {
    case ShardedState::Kind::kZero:
      return open_zero(state.path);
    case ShardedState::Kind::kDcp:
      return open_dcp(state.path);
    case ShardedState::Kind::kDcpPieces:
      break;
  }
  return open_dcp_pieces(state.path);
}

bool holds_only_adapter(const Weights& weights) {
  return !weights.tensors.empty() &&
         std::all_of(weights.tensors.begin(), weights.tensors.end(),
                     [](const Tensor& tensor) { return is_adapter_tensor(tensor.name); });
}

bool are_placeholders(const Weights& weights) {
  return !weights.tensors.empty() &&
         std::all_of(weights.tensors.begin(), weights.tensors.end(), [](const Tensor& tensor) {
           return tensor.size == 0 && tensor.shape == std::vector<std::uint64_t>{0};
         });
}

std::vector<std::string> keep_adapter_tensors(Weights& weights) {
  std::vector<std::string> notes;
  const std::size_t before = weights.tensors.size();
  std::erase_if(weights.tensors, [](const Tensor& tensor) { return !is_adapter_tensor(tensor.name); });
  if (weights.tensors.size() < before)
    notes.push_back(fmt::format("{} of the base model left out: this is a LoRA run",
                                plural(before - weights.tensors.size(), "tensor")));
  for (Tensor& tensor : weights.tensors) {
    replace_part(tensor.name, ".modules_to_save.default.", ".");
    replace_part(tensor.name, ".default.", ".");
    if (tensor.name.ends_with(".default")) tensor.name.erase(tensor.name.size() - 8);
    if (!tensor.name.starts_with("base_model.model.")) tensor.name.insert(0, "base_model.model.");
  }
  return notes;
}

std::optional<std::string> use_training_copies(Weights& weights, Dtype dtype) {
  if (weights.training_copies.empty()) return std::nullopt;
  constexpr std::uint64_t kPiece = 256U << 10;  // elements
  std::vector<std::byte> master, rounded, copy;
  const auto equal = [&](const Tensor& tensor, const Tensor& other) {
    const std::uint64_t in = bits(tensor.dtype) / 8, out = bits(dtype) / 8, count = tensor.element_count();
    CastReport unused;
    for (std::uint64_t at = 0; at < count; at += kPiece) {
      const std::uint64_t size = std::min(kPiece, count - at);
      master.resize(static_cast<std::size_t>(size * in));
      rounded.resize(static_cast<std::size_t>(size * out));
      copy.resize(rounded.size());
      weights.read(tensor, at * in, master);
      weights.read(other, at * out, copy);
      cast(tensor.dtype, dtype, master, rounded, unused);
      if (rounded != copy) return false;
    }
    return true;
  };
  std::uint64_t taken = 0, differing = 0;
  for (Tensor& tensor : weights.tensors) {
    const auto copies = weights.training_copies.find(tensor.name);
    if (copies == weights.training_copies.end() || copies->second.dtype != dtype ||
        tensor.dtype != Dtype::kF32 || copies->second.shape != tensor.shape)
      continue;
    if (equal(tensor, copies->second)) {
      tensor = copies->second;
      ++taken;
    } else {
      ++differing;
    }
  }
  if (taken + differing == 0) return std::nullopt;
  return fmt::format(
      "{} taken from the {} model file, equal to the fp32 masters{}", plural(taken, "tensor"),
      short_name(dtype),
      differing == 0 ? "" : fmt::format("; {} differ from it and are cast from the masters", differing));
}

}  // namespace mu
