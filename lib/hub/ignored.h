// SPDX-License-Identifier: Apache-2.0
// Files of a push that an ignore list keeps back: the .gitignore that goes along, or the hub's own. What a
// model can't do without stops the push; the rest is named.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/attributes.h"
#include "hub/plan.h"

namespace mu {

// Weights, configs and tokenizer files, by their names.
bool is_part_of_model(std::string_view path);

// For a plan that no hub was asked about: what the .gitignore that goes along will keep back.
void mark_ignored(PushPlan& plan, const IgnoreRules& rules);

// The weights, configs and tokenizer files that are kept back.
std::vector<std::string> missing_parts(const PushPlan& plan);

// Names every file that is kept back. Throws FilesRefused for missing_parts(), unless "ignored" is allowed.
void report_ignored(const PushPlan& plan, const std::vector<std::string>& allowed,
                    const std::function<void(const std::string&)>& note,
                    const std::function<void(const std::string&)>& warning);

// For --verify: throws kAnswerNo while missing_parts() has any.
void require_parts(const PushPlan& plan);

}  // namespace mu
