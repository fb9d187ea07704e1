// SPDX-License-Identifier: Apache-2.0
#include "pack/replacement.h"

#include <set>

#include "base/error.h"
#include "base/text.h"
#include "os/folder.h"
#include "os/stage.h"

namespace mu {
namespace {

// Names that a loader would look for, or would read in place of what we write.
bool is_model_file(std::string_view name) {
  const FileRole role = role_of(name, false);
  const bool is_weights =
      role == FileRole::kWeights || role == FileRole::kWeightsIndex || role == FileRole::kTorchWeights;
  return is_weights && (name.starts_with("model") || name.starts_with("pytorch_model") ||
                        name.starts_with("adapter_model") || name.starts_with("diffusion_pytorch_model"));
}

class Replacing {
 public:
  Replacing(const std::string& out, const PackPlan& plan) : out_(out) {
    for (const WeightsOutput& file : plan.weights) add(file.name);
    for (const TextOutput& text : plan.texts) add(text.name);
    for (const GatheredFile& file : plan.files) {
      if (file.taken) add(file.name);
    }
  }

  Replacement run() {
    look("");
    return std::move(replacement_);
  }

 private:
  void add(const std::string& name) {
    files_.insert(name);
    for (std::size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1))
      folders_.insert(name.substr(0, slash));
  }

  void look(const std::string& prefix) {
    for (const FolderEntry& entry : list_folder(join_path(out_, prefix))) {
      const std::string name = prefix + entry.name;
      if (name == kPartialInside) continue;
      if (entry.kind == FolderEntry::Kind::kFolder) {
        if (entry.is_link || !folders_.contains(name))
          throw refused("holds the folder '" + escape_name(name) + "', which st-pack did not write")
              .in_file(escape_name(out_))
              .hint("write elsewhere");
        look(name + "/");
        continue;
      }
      const bool ours = files_.contains(name) ||
                        (prefix.empty() ? is_model_file(entry.name) : is_ours_in_subfolder(entry.name));
      (ours ? replacement_.replaced : replacement_.kept).push_back(name);
    }
  }

  const std::string& out_;
  std::set<std::string> files_, folders_;
  Replacement replacement_;
};

}  // namespace

Replacement plan_replacement(const std::string& folder, const PackPlan& plan) {
  return Replacing(folder, plan).run();
}

}  // namespace mu
