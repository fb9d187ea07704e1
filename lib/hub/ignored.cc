// SPDX-License-Identifier: Apache-2.0
#include "hub/ignored.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/glob.h"
#include "base/text.h"
#include "hub/guard.h"
#include "model/roles.h"
#include "os/folder.h"

namespace mu {
namespace {

// What loaders other than those of transformers begin with.
constexpr std::array kOtherModelFiles = std::to_array<std::string_view>({
    "model_index.json",
    "modules.json",
    "params.json",
    "configuration.json",
    "config*.json",
    "*_config.json",
    "config.y*ml",
    "*.model",
    "vocab*",
    "merges*",
    "*.jinja",
    "*.npz",
    "*.onnx_data*",
    "*.onnx.data",
    "*.tflite",
    "*.keras",
    "*.ot",
    "*.pb",
    "*.mlmodel",
    "*.nemo",
    "*.pdparams",
    "*.joblib",
    "*.skops",
    "model*.pkl",
    "openvino_*.xml",
    "*.llamafile",
});

}  // namespace

bool belongs_to_model(std::string_view path) {
  const std::string_view name = base_name(path);
  switch (role_of(name, false)) {
    case FileRole::kWeights:
    case FileRole::kWeightsIndex:
    case FileRole::kTorchWeights:
    case FileRole::kOtherWeights:
    case FileRole::kConfig:
    case FileRole::kGenerationConfig:
    case FileRole::kAdapterConfig:
    case FileRole::kTokenizer:
    case FileRole::kProcessor:
    case FileRole::kChatTemplate:
      return true;
    case FileRole::kOther:
      return std::any_of(kOtherModelFiles.begin(), kOtherModelFiles.end(),
                         [name](std::string_view pattern) { return glob_matches(pattern, name); });
    default:
      return false;
  }
}

void mark_ignored(PushPlan& plan, const IgnoreRules& rules) {
  for (PushItem& item : plan.items) {
    if (item.local != nullptr && rules.ignores(item.name)) item.action = PushAction::kIgnored;
  }
}

std::vector<std::string> missing_model_files(const PushPlan& plan) {
  std::vector<std::string> missing;
  for (const PushItem& item : plan.items) {
    if (item.action == PushAction::kIgnored && belongs_to_model(item.name)) missing.push_back(item.name);
  }
  return missing;
}

void report_ignored(const PushPlan& plan, const std::vector<std::string>& allowed,
                    const std::function<void(const std::string&)>& note,
                    const std::function<void(const std::string&)>& warning) {
  constexpr std::string_view kWhy = "left out: .gitignore or the hub's own list ignores it";
  for (const PushItem& item : plan.items) {
    if (item.action == PushAction::kIgnored && !belongs_to_model(item.name))
      note(fmt::format("{}: {}", escape_name(item.name), kWhy));
  }
  std::vector<GuardFinding> findings;
  for (const std::string& name : missing_model_files(plan))
    findings.push_back(against(Rule::kIgnored, name, std::string(kWhy)));
  enforce_guard(findings, allowed, warning);
}

void require_model_files(const PushPlan& plan) {
  const std::vector<std::string> missing = missing_model_files(plan);
  if (missing.empty()) return;
  throw Error(ErrorKind::kAnswerNo,
              fmt::format("{} missing from the repository, ignored by .gitignore or the hub: {}",
                          missing.size() == 1 ? "1 file is" : fmt::format("{} files are", missing.size()),
                          escape_name(missing.front())))
      .hint("remove the line from .gitignore");
}

}  // namespace mu
