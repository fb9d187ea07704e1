// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <map>
#include <set>

#include "base/text.h"
#include "hub/guard.h"
#include "hub/ignored.h"
#include "hub/name_key.h"
#include "model/roles.h"
#include "os/folder.h"

namespace mu {
namespace {

constexpr std::size_t kMaxFolderEntries = 10'000;  // the Hub's

class NamesGuard {
 public:
  std::vector<GuardFinding> run(const FileChoice& choice, bool is_model) {
    check_names(choice);
    for (const LeftOutFile& file : choice.left_out) {
      if (file.broken && belongs_to_model(file.name)) add(Rule::kTorn, file.name, file.reason);
    }
    if (is_model) check_model(choice);
    return std::move(findings_);
  }

 private:
  void add(Rule rule, std::string file, std::string message) {
    findings_.push_back(against(rule, std::move(file), std::move(message)));
  }

  // Compares files, and the folders above them, within each folder.
  void check_names(const FileChoice& choice) {
    std::map<std::string, std::set<std::string>> entries;  // by folder
    for (const LocalFile& file : choice.files) {
      std::string name = file.name;
      for (std::size_t slash = name.rfind('/');; slash = name.rfind('/')) {
        const std::string folder = slash == std::string::npos ? "" : name.substr(0, slash);
        if (!entries[folder].insert(name).second || slash == std::string::npos) break;
        name = folder;
      }
    }
    for (const auto& [folder, names] : entries) {
      check_twins(names);
      if (names.size() > kMaxFolderEntries)
        add(Rule::kFolder, folder + "/",
            fmt::format("{} entries; the Hub takes 10,000 a folder", group_digits(names.size())));
    }
  }

  void check_twins(const std::set<std::string>& names) {
    std::map<std::string, std::string> by_key;
    for (const std::string& name : names) {
      const auto [found, fresh] = by_key.try_emplace(canonical_name(name, true), name);
      if (fresh) continue;
      const bool form = canonical_name(name, false) == canonical_name(found->second, false);
      add(Rule::kCase, name,
          fmt::format("differs from '{}' only in {}: other systems can't tell them apart",
                      escape_name(found->second),
                      form ? "the Unicode form of its letters (NFC, NFD)" : "case"));
    }
  }

  void check_model(const FileChoice& choice) {
    bool weights = false, config = false, adapter = false, tokenizer = false;
    for (const LocalFile& file : choice.files) {
      const FileRole role = role_of(base_name(file.name), false);
      weights = weights || role == FileRole::kWeights || role == FileRole::kTorchWeights;
      config = config || role == FileRole::kConfig;
      adapter = adapter || role == FileRole::kAdapterConfig;
      tokenizer = tokenizer || role == FileRole::kTokenizer || role == FileRole::kProcessor ||
                  file.name == "model_index.json";  // a pipeline brings one if it needs one
    }
    if (!weights) return;
    if (!config && !adapter)
      add(Rule::kConfig, "", "there are weights, but neither config.json nor adapter_config.json");
    if (config && !adapter && !tokenizer)
      add(Rule::kTokenizer, "", "there are weights, but no tokenizer or processor");
  }

  std::vector<GuardFinding> findings_;
};

}  // namespace

std::vector<GuardFinding> guard_names(const FileChoice& choice, bool is_model) {
  return NamesGuard().run(choice, is_model);
}

}  // namespace mu
