// SPDX-License-Identifier: Apache-2.0
#include "weights/ranks/megatron.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/glob.h"
#include "base/text.h"
#include "os/file.h"
#include "weights/ranks/rank_file.h"

namespace mu {
namespace {

bool has_folder(const std::string& path, std::string_view name) {
  return is_folder(join_path(path, name));
}

// What converts a checkpoint whose files lie in `folder`: the program that wrote it leaves a mark there or above.
std::string converter_of(const std::string& folder) {
  std::string at = folder;
  for (int level = 0; level < 4; ++level, at = parent_of(at)) {
    if (has_folder(at, "context") && has_folder(at, "weights"))
      return "export it with NeMo: nemo llm export … target=hf";
    if (exists(join_path(at, "transformer_config.json")))
      return fmt::format(
          "merge it with verl: python -m verl.model_merger merge --backend megatron --local_dir {} "
          "--target_dir OUT",
          escape_name(at));
    if (parent_of(at) == at) break;
  }
  return "export it with Megatron-Bridge: AutoBridge.export_ckpt";
}

Error refusal(const std::string& folder, const std::string& what, std::string_view hint) {
  return rule_error("DC-CLASS",
                    fmt::format("a checkpoint of {}: layers are stacked, QKV is fused and weights are "
                                "permuted",
                                what))
      .in_file(escape_name(folder))
      .hint(hint);
}

// "mp_rank_00_001" has a number for each way in which layers are cut.
std::string_view parallelism_of(std::string_view rank_folder) {
  constexpr std::string_view kPrefix = "mp_rank_";
  const auto cuts = std::count(rank_folder.begin() + kPrefix.size(), rank_folder.end(), '_');
  return cuts == 0 ? "tensor" : cuts == 1 ? "tensor and pipeline" : "tensor, pipeline and expert";
}

// Before dist_checkpointing every rank had a folder, which Megatron-LM alone reads.
[[noreturn]] void refuse_classic(const std::string& folder, const std::string& what) {
  throw refusal(folder, what,
                "load it with Megatron-LM, save it with --ckpt-format torch_dist, and export that with "
                "Megatron-Bridge: AutoBridge.export_ckpt");
}

// The folder of a save says more than the marker above it.
void refuse_iterations(const std::string& folder, const std::vector<FolderEntry>& entries) {
  for (const FolderEntry& entry : entries) {
    if (entry.kind != FolderEntry::Kind::kFolder || !glob_matches("iter_[0-9]*", entry.name)) continue;
    const std::string path = join_path(folder, entry.name);
    refuse_megatron(path, list_folder(path));
  }
}

}  // namespace

bool is_megatron_folder(const std::string& path) {
  const std::string metadata = join_path(path, "metadata.json");
  return exists(metadata) && !is_folder(metadata) &&
         read_whole_file(metadata, 16U << 20).find("\"sharded_backend\"") != std::string::npos;
}

Error megatron_error(const std::string& folder) {
  return refusal(folder, "Megatron", converter_of(folder));
}

void refuse_megatron(const std::string& folder, const std::vector<FolderEntry>& entries) {
  // verl keeps the same tracker, beside the folders of its steps, however it trains.
  const bool is_verl = std::any_of(entries.begin(), entries.end(), [](const FolderEntry& entry) {
    return glob_matches("global_step_[0-9]*", entry.name);
  });
  for (const FolderEntry& entry : entries) {
    const std::string& name = entry.name;
    const bool is_folder = entry.kind == FolderEntry::Kind::kFolder;
    const bool is_nemo = name == "context" && has_folder(folder, "weights");
    if (name.ends_with(".nemo") || (is_folder && (is_nemo || glob_matches("tp_rank_[0-9]*", name))))
      throw refusal(
          folder, fmt::format("NeMo ({}), with the layout of Megatron", escape_name(name)),
          "export it with NeMo: nemo llm export … target=hf; older ones have scripts/checkpoint_converters");
    if (is_folder && glob_matches("mp_rank_[0-9][0-9]*", name))
      refuse_classic(folder, fmt::format("Megatron, cut over {} parallel ranks ({})", parallelism_of(name),
                                         escape_name(name)));
    if (is_megatron_file(name)) refuse_classic(folder, "Megatron");
    if ((name == "latest_checkpointed_iteration.txt" && !is_verl) || (is_folder && name == "dist_ckpt") ||
        (is_folder && name == "model" && has_folder(join_path(folder, name), "dist_ckpt"))) {
      refuse_iterations(folder, entries);
      throw megatron_error(is_folder ? join_path(folder, name) : folder);
    }
  }
}

bool is_megatron_file(std::string_view name) {
  return name == "model_optim_rng.pt" || name == "distrib_optim.pt";
}

}  // namespace mu
