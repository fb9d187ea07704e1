// SPDX-License-Identifier: Apache-2.0
#include "inspect/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "inspect/check_tensors.h"
#include "inspect/facts.h"
#include "inspect/safety.h"
#include "model/tied.h"
#include "os/far.h"
#include "os/file.h"
#include "os/folder.h"
#include "weights/contents.h"
#include "weights/sniff.h"

namespace mu {
namespace {

// Adds the findings about a folder.
class FolderCheck {
 public:
  FolderCheck(const Input& input, Findings& findings)
      : input_(input),
        folder_(*input.folder),
        top_type_(read_component_names(*input.folder).top_type),
        findings_(findings) {}

  void run() {
    check_config();
    check_tokenizer();
    check_leftovers();
    check_pointers();
    check_tied();
    check_checkpoint();
    check_components();
  }

 private:
  void found(std::string_view rule, bool warning, std::string message, std::string_view file = {}) {
    findings_.add({rule, Level::kHub, warning, std::move(message),
                   file.empty() ? folder_.path : folder_.path_of(file)});
  }
  bool is_chosen(const std::string& name) const {
    const std::vector<std::string>& names = input_.choice.names;
    if (std::find(names.begin(), names.end(), name) != names.end()) return true;
    if (!input_.weights.index) return false;
    const std::vector<std::string>& shards = input_.weights.index->shards;
    return std::find(shards.begin(), shards.end(), name) != shards.end();
  }
  bool has_role(FileRole role) const {
    return std::any_of(folder_.files.begin(), folder_.files.end(),
                       [role](const FolderFile& f) { return f.role == role; });
  }

  // sentence-transformers has models without a Transformers model or its tokenizer.
  bool is_transformers_model() const {
    return top_type_.empty() || top_type_.ends_with("Transformer") || top_type_.ends_with("CLIPModel");
  }

  void check_config() {
    if (!input_.has_weights || !is_transformers_model()) return;
    if (input_.is_adapter()) {
      if (!folder_.has("adapter_config.json"))
        found("MD-CONFIG", false, "adapter_config.json is missing: PEFT can't load the adapter");
    } else if (!folder_.has("config.json")) {
      found("MD-CONFIG", false, "config.json is missing: loaders don't know the architecture");
    }
  }

  void check_tokenizer() {
    if (input_.is_adapter() || has_role(FileRole::kProcessor)) return;
    if (!input_.has_weights || !is_transformers_model()) return;
    const bool has_vocabulary =
        std::any_of(folder_.files.begin(), folder_.files.end(), [](const FolderFile& f) {
          return f.role == FileRole::kTokenizer && f.name != "tokenizer_config.json" &&
                 f.name != "special_tokens_map.json";
        });
    if (!has_vocabulary) found("MD-TOKENIZER", false, "no tokenizer beside the weights");
  }

  // Finds weights that nobody loads, or that some loaders take in place of others.
  void check_leftovers() {
    if (!input_.choice.is_index && folder_.has("model.safetensors.index.json") &&
        folder_.has("model.safetensors")) {
      found("MD-BOTH", false, "loaders take model.safetensors and ignore this index",
            "model.safetensors.index.json");
    }
    for (const FolderFile& file : folder_.files) {
      if (file.role == FileRole::kTorchWeights && !is_chosen(file.name) &&
          (file.name.starts_with("pytorch_model") || file.name.starts_with("adapter_model"))) {
        found("MD-BOTH", true, "the same weights in a second format?", file.name);
      }
      const bool is_shard = file.role == FileRole::kWeights && parse_shard_name(file.name).has_value();
      const auto& shards = input_.weights.index ? input_.weights.index->shards : input_.choice.names;
      if (is_shard && std::find(shards.begin(), shards.end(), file.name) == shards.end()) {
        found("MD-LEFTOVER", true, "a shard that belongs to no index; left by an earlier save?", file.name);
      }
    }
    if (!input_.choice.is_index && input_.choice.names.size() > 1) {
      found("MD-INDEX", false, "the shards have no index: loaders don't find them");
    }
  }

  void check_pointers() {
    constexpr std::uint64_t kLargestPointer =
        1024;  // bytes: the specification of Git LFS allows fewer than 1024
    for (const FolderFile& file : folder_.files) {
      if (file.is_folder || file.size > kLargestPointer || file.role == FileRole::kWeights) continue;
      if (is_lfs_pointer(read_whole_file(folder_.path_of(file.name), kLargestPointer))) {
        found("MD-LFS", false, "a Git LFS pointer: the file itself was not fetched; run 'git lfs pull'",
              file.name);
      }
    }
  }

  void check_tied() {
    if (!input_.config || input_.is_adapter()) return;
    const Ties ties(input_.config, input_.weights);
    for (const std::string& name : ties.missing()) {
      found("MD-TIED", false,
            fmt::format("does not tie the embeddings, but the weights have no output head ('{}')",
                        escape_name(name)),
            "config.json");
    }
    const TensorsByName tensors = tensors_by_name(input_.weights);
    for (const TiedName& pair : ties.pairs()) {
      // Every view comes here, so little is read; of a model on another machine nothing but headers.
      constexpr std::uint64_t kLooked = 64U << 10;  // bytes
      const bool differ =
          !is_far_name(folder_.path) && !equal_bytes(input_.weights, *tensors.at(pair.dropped),
                                                     input_.weights, *tensors.at(pair.kept), kLooked);
      found("MD-TIED", true,
            differ ? fmt::format("ties '{}' to '{}', but their values differ: loaders keep them apart",
                                 escape_name(pair.dropped), escape_name(pair.kept))
                   : fmt::format("ties '{}' to '{}', but the weights hold both", escape_name(pair.dropped),
                                 escape_name(pair.kept)),
            "config.json");
    }
  }

  void check_checkpoint() {
    if (folder_.has("checkpoint-is-incomplete.txt"))
      found("MD-INCOMPLETE", false, "the save was cut off", "checkpoint-is-incomplete.txt");
    if (!input_.state || !input_.state->global_step) return;
    const std::string expected = fmt::format("checkpoint-{}", *input_.state->global_step);
    const std::string_view here = base_name(folder_.path);
    if (role_of(here, true) == FileRole::kCheckpoint && here != expected) {
      found("MD-STEP", true, fmt::format("is for step {}", *input_.state->global_step), "trainer_state.json");
    }
  }

  // Weights below the folder are judged like its own. Those of a folder without a model are its own.
  void check_components() {
    for (const Component& component : input_.components) {
      findings_.add_all(component.input.weights.findings);
      findings_.add_all(component.input.folder_findings);
      if (safety_exit_code(component.input) == 4)
        findings_.add({"MD-COMPONENT",
                       Level::kLoads,
                       false,
                       "holds a pickle that is dangerous to load; st-inspect --check of this folder lists it",
                       component.input.name,
                       {}});
    }
  }

  const Input& input_;
  const Folder& folder_;
  const std::string top_type_;
  Findings& findings_;
};

}  // namespace

Findings check_input(const Input& input) {
  Findings findings = input.weights.findings;
  findings.add_all(input.folder_findings);
  check_tensors(input, findings);
  if (input.folder) FolderCheck(input, findings).run();
  return findings;
}

std::string findings_text(const Findings& findings, Level level, const std::string& name) {
  std::string text;
  std::map<std::string_view, std::uint64_t> per_rule;
  for (const Finding& finding : findings.list()) {
    if (finding.level > level) continue;
    ++per_rule[finding.rule];
    const std::string place = finding.offset ? fmt::format("byte {}: ", *finding.offset) : "";
    const char* const severity = finding.level == Level::kLoads ? "fatal"
                                 : finding.warning              ? "warning"
                                                                : "error";
    text += fmt::format("{}: {}{} [{} {} {}]\n", escape_name(finding.file), place, finding.message,
                        finding.rule, level_name(finding.level), severity);
  }
  for (const auto& [rule, count] : per_rule) {
    if (findings.count(rule) > count)
      text += fmt::format("{}: {} more of {}\n", escape_name(name),
                          group_digits(findings.count(rule) - count), rule);
  }
  return text;
}

std::string check_text(const Input& input, const Findings& findings, Level level) {
  const std::string who = escape_name(input.name), text = findings_text(findings, level, input.name);
  if (text.empty()) return fmt::format("{}: sound, level {}\n", who, level_name(level));
  const std::optional<Level> reached = level_reached(findings);
  return text + (reached ? fmt::format("{}: reaches level {}\n", who, level_name(*reached))
                         : fmt::format("{}: the reference library refuses it\n", who));
}

bool is_refused(const Input& input) {
  return input.weights.findings.first_up_to(Level::kLoads) != nullptr || safety_exit_code(input) == 4 ||
         std::any_of(input.components.begin(), input.components.end(),
                     [](const Component& component) { return is_refused(component.input); });
}

void require_loadable(const Input& input) {
  input.weights.findings.throw_if_unloadable();
  for (const Component& component : input.components) require_loadable(component.input);
}

int check_exit_code(const Input& input, const Findings& findings, Level level) {
  if (is_refused(input)) return 4;
  return findings.first_up_to(level) != nullptr || safety_exit_code(input) != 0 ? 1 : 0;
}

}  // namespace mu
