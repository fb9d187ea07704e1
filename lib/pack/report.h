// SPDX-License-Identifier: Apache-2.0
// A pack plan and its outcome as text for people and as JSON for programs (schema "modelutils.st-pack/1").
#pragma once

#include <optional>
#include <string>

#include "pack/plan.h"
#include "pack/replacement.h"
#include "pack/write.h"

namespace mu {

// One line for each file, sorted by what happens to it, with the reason; columns for a terminal.
std::string plan_text(const PackPlan& plan, const std::string& out,
                      const std::optional<Replacement>& replacement);

// `result` is null until the plan has been carried out.
std::string plan_json(const PackPlan& plan, const Input& input, const std::string& out,
                      const std::optional<Replacement>& replacement, const WriteResult* result);

// One line about what was done.
std::string summary_line(const PackPlan& plan, const std::string& out, const WriteResult& result);

// "42 values overflowed …", for a tensor that a cast changed beyond rounding.
std::string loss_text(const std::string& tensor, const CastReport& report);

}  // namespace mu
