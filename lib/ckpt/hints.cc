// SPDX-License-Identifier: Apache-2.0
#include "ckpt/hints.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "base/glob.h"
#include "base/text.h"
#include "ckpt/walk.h"

namespace mu {
namespace {

// Names that frameworks give their checkpoints: verl, DeepSpeed, Megatron, OLMo, accelerate, torchtune,
// Lightning, detectron2, fairseq.
struct KnownName {
  const char* name;     // glob
  const char* pattern;  // for the user to give
  bool is_folder;
};
constexpr KnownName kKnown[] = {
    {"checkpoint-[1-9]*", "", true},
    {"global_step_[0-9]*", "global_step_*", true},
    {"global_step[0-9]*", "global_step*", true},
    {"iter_[0-9]*", "iter_*", true},
    {"step_[0-9]*", "step_*", true},
    {"step-[0-9]*", "step-*", true},
    {"step[0-9]*", "step*", true},
    {"epoch_[0-9]*", "epoch_*", true},
    {"epoch-[0-9]*", "epoch-*", true},
    {"checkpoint_[0-9]*", "checkpoint_*", true},
    {"checkpoint-[a-z]*[0-9]", "checkpoint-*", true},
    {"ckpt_[0-9]*", "ckpt_*", true},
    {"ckpt-[0-9]*", "ckpt-*", true},
    {"*[0-9]*.ckpt", "*.ckpt", true},
    {"*[0-9]*.ckpt", "*.ckpt", false},
    {"checkpoint_[0-9]*.pt", "checkpoint_*.pt", false},
    {"checkpoint[0-9]*.pt", "checkpoint*.pt", false},
    {"epoch_[0-9]*.pth", "epoch_*.pth", false},
    {"iter_[0-9]*.pth", "iter_*.pth", false},
    {"model_[0-9]*.pth", "model_*.pth", false},
    {"step_[0-9]*.pt", "step_*.pt", false},
};

constexpr std::size_t kMostFolders = 1000;  // looked into: a hint is not worth a longer search

const KnownName* known(const std::string& name, bool is_folder) {
  const auto* const found = std::find_if(std::begin(kKnown), std::end(kKnown), [&](const KnownName& one) {
    return one.is_folder == is_folder && glob_matches(one.name, name);
  });
  return found == std::end(kKnown) ? nullptr : found;
}

// The first entry of an open folder that another pattern would select.
struct Found {
  std::string name;
  const KnownName* known;
};
std::optional<Found> find_known(int folder, const std::string& path, const CheckpointNames& names) {
  for (const auto& [name, type] : list_at(folder, path)) {
    const KnownName* const one = type == DT_DIR || type == DT_REG ? known(name, type == DT_DIR) : nullptr;
    const bool is_default = one != nullptr && *one->pattern == '\0';
    if (one != nullptr && !(is_default && !names.is_by_pattern())) return Found{name, one};
  }
  return std::nullopt;
}

std::string option_for(const KnownName& one) {
  return *one.pattern == '\0' ? std::string("without --pattern") : fmt::format("--pattern '{}'", one.pattern);
}

}  // namespace

std::string hint_at_others(const RunFolder& folder, const CheckpointNames& names, bool recursive) {
  const auto is_ours = [&names](const std::string& name, unsigned char type) {
    return (type == DT_DIR || type == DT_REG) && names.matches(name, type == DT_DIR);
  };
  if (const std::optional<Found> here = find_known(folder.fd.get(), folder.path, names))
    return fmt::format("{} looks like one ({})", escape_name(here->name), option_for(*here->known));
  std::size_t looked = 0;
  for (const auto& [name, type] : list_at(folder.fd.get(), folder.path)) {
    if (type != DT_DIR || name.starts_with('.') || ++looked > kMostFolders) continue;
    const Fd fd(::openat(folder.fd.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (fd.get() < 0) continue;  // only a hint is lost
    const auto entries = list_at(fd.get(), name);
    if (!recursive && std::any_of(entries.begin(), entries.end(),
                                  [&](const auto& entry) { return is_ours(entry.first, entry.second); }))
      return fmt::format("{} below holds some (--recursive)", escape_name(name));
    if (const std::optional<Found> below = find_known(fd.get(), name, names))
      return fmt::format("{}/{} looks like one ({}{})", escape_name(name), escape_name(below->name),
                         recursive ? "" : "--recursive ", option_for(*below->known));
  }
  return "";
}

}  // namespace mu
