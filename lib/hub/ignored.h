// SPDX-License-Identifier: Apache-2.0
// Files of a push that an ignore list leaves out: the .gitignore that is pushed, or the hub's own. A push
// that would lose a necessary file of the model is stopped; other files are reported.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/attributes.h"
#include "hub/plan.h"

namespace mu {

// Whether a model needs a file, by its name: weights, configs, tokenizers.
bool belongs_to_model(std::string_view path);

// For a plan without a hub's answers: marks what the .gitignore that is pushed will leave out.
void mark_ignored(PushPlan& plan, const IgnoreRules& rules);

// The necessary files that are left out.
std::vector<std::string> missing_model_files(const PushPlan& plan);

// Reports every file that is left out. Throws FilesRefused for missing_model_files(), unless "ignored" is
// allowed.
void report_ignored(const PushPlan& plan, const std::vector<std::string>& allowed,
                    const std::function<void(const std::string&)>& note,
                    const std::function<void(const std::string&)>& warning);

// For --verify: throws kAnswerNo if missing_model_files() has any.
void require_model_files(const PushPlan& plan);

}  // namespace mu
