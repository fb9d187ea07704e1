// SPDX-License-Identifier: Apache-2.0
#include "hub/files.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "fetch/partial.h"
#include "model/links.h"
#include "model/roles.h"
#include "os/folder.h"
#include "os/stage_name.h"

namespace mu {
namespace {

constexpr std::size_t kMaxDepth = 100;  // folders in folders

struct Pattern {
  Glob glob;
  std::string written;
  bool used = false;

  explicit Pattern(const std::string& text) : glob(repo_glob(text)), written(text) {}
};

bool take_match(std::vector<Pattern>& patterns, std::string_view name) {
  bool any = false;
  for (Pattern& pattern : patterns) {
    if (!pattern.glob.matches(name)) continue;
    pattern.used = any = true;
  }
  return any;
}

// Why an entry of a training run is not pushed, or nothing.
std::optional<std::string> run_reason(std::string_view name, bool is_folder) {
  // The copy that the Trainer keeps to resume from: of use only as a whole.
  if (is_folder && name == "last-checkpoint") return std::string(why_left(FileRole::kCheckpoint));
  const FileRole role = role_of(name, is_folder);
  switch (role) {
    case FileRole::kOptimizer:
    case FileRole::kScheduler:
    case FileRole::kScaler:
    case FileRole::kRng:
    case FileRole::kTrainingArgs:
    case FileRole::kTrainerState:
    case FileRole::kRankState:
    case FileRole::kRankHelper:
    case FileRole::kCheckpoint:
    case FileRole::kIncomplete:
      return std::string(why_left(role));
    default:
      break;
  }
  if (name.starts_with("events.out.tfevents")) return std::string(why_left(FileRole::kLog));
  return std::nullopt;
}

class Walk {
 public:
  Walk(const std::string& prefix, const FileRules& rules) : prefix_(prefix), rules_(rules) {
    for (const std::string& text : rules.include) include_.emplace_back(text);
    for (const std::string& text : rules.exclude) exclude_.emplace_back(text);
  }

  FileChoice run(const std::string& folder) {
    root_ = resolved_path(folder);
    enter(folder, "");
    std::sort(choice_.files.begin(), choice_.files.end(),
              [](const LocalFile& a, const LocalFile& b) { return a.name < b.name; });
    for (const std::vector<Pattern>* patterns : {&include_, &exclude_}) {
      for (const Pattern& pattern : *patterns) {
        if (!pattern.used) choice_.idle_patterns.push_back(pattern.written);
      }
    }
    return std::move(choice_);
  }

 private:
  void leave(std::string name, std::string reason) {
    choice_.left_out.push_back({std::move(name), std::move(reason)});
  }

  void enter(const std::string& path, const std::string& below) {
    const FileId id = stamp_of(path).id;
    if (std::find(above_.begin(), above_.end(), id) != above_.end())
      return leave(below, "a link back to a folder above it");
    if (above_.size() >= kMaxDepth) return leave(below, "folders are nested too deeply");
    above_.push_back(id);
    for (const FolderEntry& entry : list_folder(path))
      visit(entry, join_path(path, entry.name), below + entry.name);
    above_.pop_back();
  }

  // Behind a link that may be followed, links must stay in the folder that it leads to.
  void follow(const std::string& path, const std::string& shown) {
    const std::string root = std::exchange(root_, resolved_path(path));
    enter(path, shown);
    root_ = root;
  }

  void visit(const FolderEntry& entry, const std::string& path, const std::string& name) {
    const bool folder = entry.kind == FolderEntry::Kind::kFolder;
    const std::string shown = folder ? name + "/" : name;
    if (is_reserved_name(entry.name)) return leave(shown, "never part of a repository");
    if (parse_stage_name(entry.name)) return leave(shown, "left by an interrupted run");
    if (folder && PartialOutput::is_one(path)) return leave(shown, "the partial output of another run");
    if (folder) {
      if (entry.is_link && !rules_.follow_folders)
        return leave(shown, "a link to a folder (--follow-symlinks)");
      // A pattern may take something inside.
      if (!rules_.all && include_.empty()) {
        if (const std::optional<std::string> reason = run_reason(entry.name, true))
          return leave(shown, *reason);
      }
      return entry.is_link ? follow(path, shown) : enter(path, shown);
    }
    const bool file = entry.kind == FolderEntry::Kind::kFile;
    if (!file && !entry.is_link) return leave(shown, "not a regular file");
    if (std::optional<std::string> reason = why_unwanted(entry.name, name)) return leave(name, *reason);
    if (!file) {
      leave(shown, "a link that does not lead to a file");
      choice_.left_out.back().broken = true;
      return;
    }
    choice_.files.push_back({path, prefix_.empty() ? name : prefix_ + "/" + name, entry.stamp});
    if (entry.is_link) choice_.files.back().outside = leads_out(root_, path).value_or("");
  }

  std::optional<std::string> why_unwanted(std::string_view base, const std::string& name) {
    const bool included = take_match(include_, name);
    if (!include_.empty() && !included) return "not included";
    if (take_match(exclude_, name)) return "excluded";
    return included || rules_.all ? std::nullopt : run_reason(base, false);
  }

  std::string prefix_;
  const FileRules& rules_;
  std::vector<Pattern> include_, exclude_;
  std::string root_;  // the real path of the folder that links may not leave
  std::vector<FileId> above_;
  FileChoice choice_;
};

}  // namespace

Glob repo_glob(std::string_view pattern) {
  std::string text(pattern);
  std::replace(text.begin(), text.end(), '\\', '/');
  if (text.ends_with('/')) text += '*';
  return Glob(text);
}

FileChoice choose_folder(const std::string& folder, const std::string& prefix, const FileRules& rules) {
  return Walk(prefix, rules).run(folder);
}

FileChoice choose_file(const std::string& path, const std::string& name) {
  const InputFile file(path);  // throws if it is not a regular file
  FileChoice choice;
  choice.files.push_back({path, name, file.stamp()});
  return choice;
}

std::optional<std::string> root_file(const FileChoice& choice, std::string_view name) {
  for (const LocalFile& file : choice.files) {
    if (file.name == name && file.stamp.size <= kMaxRegularFile)
      return read_whole_file(file.path, kMaxRegularFile);
  }
  return std::nullopt;
}

}  // namespace mu
