// SPDX-License-Identifier: Apache-2.0
// The plan of a push to a hub: gathers what the hub says about each file and the hashes that this calls for,
// puts them before plan_push(), and reports what an ignore list leaves out.
#pragma once

#include <string>
#include <vector>

#include "hub/api.h"
#include "hub/files.h"
#include "hub/hashes.h"
#include "hub/listener.h"
#include "hub/plan.h"
#include "hub/push_options.h"

namespace mu {

class PushPlanner {
 public:
  // `all` are the files of the whole push, `choice` those that this run stores (--part). All arguments must
  // outlive the planner.
  PushPlanner(HubApi& api, const FileChoice& all, const FileChoice& choice, HashCache& cache,
              const PushOptions& options, const PushListener& listener)
      : api_(api), all_(all), choice_(choice), cache_(cache), o_(options), listener_(listener) {}

  // Asks the hub to check README.md and reports its warnings. Throws kRemote for what it refuses.
  void validate_card() const;
  // Asks the hub about `revision`. Throws FilesRefused for files that the hub would not take or would leave
  // out.
  PushPlan plan(const std::string& revision) const;
  // The plan where the hub can't be asked: every file is new, and only the .gitignore of the push counts.
  PushPlan plan_unasked() const;
  // Throws FilesRefused for a model that its own .gitignore would leave incomplete; before a repository is
  // made for it.
  void refuse_foreseen() const;

 private:
  [[nodiscard]] std::vector<PreuploadAnswer> ask(const std::string& revision) const;
  void check_regular(const std::vector<PreuploadAnswer>& answers) const;
  void find_present(const std::string& revision, std::vector<PreuploadAnswer>& answers,
                    std::vector<FileHashes>& hashes) const;

  HubApi& api_;
  const FileChoice& all_;
  const FileChoice& choice_;
  HashCache& cache_;
  const PushOptions& o_;
  const PushListener& listener_;
};

}  // namespace mu
