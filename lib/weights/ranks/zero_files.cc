// SPDX-License-Identifier: Apache-2.0
#include "weights/ranks/zero_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/in_file.h"
#include "base/text.h"
#include "os/folder.h"
#include "weights/index.h"
#include "weights/ranks/rank_file.h"

namespace mu {
namespace {

std::optional<std::uint64_t> take_number(std::string_view& text) {
  std::uint64_t value = 0;
  const std::from_chars_result parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr == text.data()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(parsed.ptr - text.data()));
  return value;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

bool is_state_name(std::string_view name) {
  return name.ends_with("optim_states.pt") || name.ends_with("model_states.pt");
}

// Recognises other ways of parallel training by their files.
void refuse_other_kinds(const FolderEntry& entry) {
  const std::string& name = entry.name;
  if (name == "offloaded_tensors" && entry.kind == FolderEntry::Kind::kFolder)
    throw rule_error("ZR-NVME",
                     "the optimizer was offloaded to NVMe: its weights lie in offloaded_tensors/ as raw swap "
                     "files without an index")
        .hint("load it with DeepSpeed and save it without NVMe offload");
  refuse_parallel_file(name);
}

void require_one_save(const std::vector<ZeroFileName>& files) {
  for (const ZeroFileName& file : files) {
    if (file.prefix != files.front().prefix || file.rank.has_value() != files.front().rank.has_value())
      throw rule_error("ZR-MIX", fmt::format("files of two saves are mixed: {} and {}",
                                             escape_name(files.front().name), escape_name(file.name)))
          .hint("move one of the two sets elsewhere");
  }
}

}  // namespace

void refuse_parallel_file(std::string_view name) {
  const std::string shown = escape_name(name);
  if (!is_state_name(name)) return;
  if (name.starts_with("expp_rank_") || name.find("expert_") != std::string_view::npos)
    throw rule_error("ZR-MOE", "a mixture of experts (" + shown + "): experts are split over other ranks")
        .hint("save it with the training program's own gathering");
  if (name.starts_with("layer_"))
    throw rule_error("ZR-PIPE", "a pipeline-parallel checkpoint (" + shown +
                                    "): its parameters are numbered by layer, not named")
        .hint(
            "export it with the training program that knows the names (GPT-NeoX: "
            "tools/ckpts/convert_neox_to_hf.py)");
}

Error tensor_parallel_error(const std::string& seen) {
  return rule_error("ZR-TP", "saved with tensor parallelism (" + seen +
                                 "): the pieces can't be joined without the sharding rules")
      .hint("convert it with ds_to_universal.py, or save with gathered weights");
}

std::optional<ZeroFileName> parse_zero_file_name(std::string_view name) {
  ZeroFileName file;
  file.name = name;
  std::string_view rest = name;
  for (const std::string_view prefix : {"bf16_", "fp16_"}) {
    if (take(rest, prefix)) {
      file.prefix = prefix;
      break;
    }
  }
  if (take(rest, "zero_pp_rank_")) {
    file.rank = take_number(rest);
    if (!file.rank || !take(rest, "_")) return std::nullopt;
  }
  if (!take(rest, "mp_rank_")) return std::nullopt;
  const std::optional<std::uint64_t> model_rank = take_number(rest);
  if (!model_rank) return std::nullopt;
  file.model_rank = *model_rank;
  take(rest, "_");  // the oldest names have no _ before "optim"
  if (rest != "optim_states.pt" && rest != "model_states.pt") return std::nullopt;
  file.is_optimizer = rest == "optim_states.pt";
  if (file.is_optimizer && !file.rank) return std::nullopt;
  return file;
}

ZeroFileNames list_zero_files(const std::string& folder) {
  ZeroFileNames files;
  in_file(folder, [&] {
    for (const FolderEntry& entry : list_folder(folder)) {
      refuse_other_kinds(entry);
      std::optional<ZeroFileName> file = parse_zero_file_name(entry.name);
      if (!file) continue;
      if (file->model_rank != 0) throw tensor_parallel_error(escape_name(file->name));
      (file->is_optimizer ? files.optimizer : files.model).push_back(std::move(*file));
    }
    for (std::vector<ZeroFileName>* kind : {&files.model, &files.optimizer}) {
      require_one_save(*kind);
      // By number: as text, 10 would come before 9.
      std::sort(kind->begin(), kind->end(),
                [](const ZeroFileName& a, const ZeroFileName& b) { return a.rank < b.rank; });
    }
  });
  return files;
}

bool is_zero_folder(const std::string& path) {
  if (!is_folder(path)) return false;
  const std::vector<FolderEntry> entries = list_folder(path);
  return std::any_of(entries.begin(), entries.end(), [](const FolderEntry& entry) {
    return parse_zero_file_name(entry.name).has_value() ||
           (is_state_name(entry.name) && (entry.name.starts_with("layer_") || entry.name.starts_with("exp")));
  });
}

std::string zero_tag_folder(const std::string& folder) {
  // ds_to_universal.py writes latest_universal beside it.
  const bool universal = !exists(join_path(folder, "latest"));
  const std::string path = join_path(folder, universal ? "latest_universal" : "latest");
  if (!exists(path) || is_folder(path)) return "";
  const std::string tag(trim(read_whole_file(path, 4096)));
  const std::optional<std::string_view> why =
      tag.find('/') != std::string::npos ? "it leads elsewhere" : unsafe_name(tag);
  if (why)
    throw rule_error("ZR-LATEST", fmt::format("the tag '{}' is not followed: {}", escape_name(tag), *why))
        .in_file(escape_name(path));
  if (is_folder(join_path(folder, tag))) return join_path(folder, tag);
  std::vector<std::string> present;
  for (const FolderEntry& entry : list_folder(folder)) {
    if (entry.kind == FolderEntry::Kind::kFolder) present.push_back(escape_name(entry.name));
  }
  throw rule_error("ZR-LATEST", fmt::format("it names {}, which is not here; present: {}", escape_name(tag),
                                            present.empty() ? "no folder" : join(present, ", ")))
      .in_file(escape_name(path))
      .hint("name the folder you mean");
}

}  // namespace mu
