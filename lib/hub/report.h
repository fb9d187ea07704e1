// SPDX-License-Identifier: Apache-2.0
// What a push will do or has done: for people, for scripts and for sha256sum.
#pragma once

#include <string>

#include "hub/push.h"

namespace mu {

// A line for each path (action, storage, size, name), and a line of totals.
std::string push_plan_text(const PushResult& result);

// One document, schema modelutils.hub-push/1.
std::string push_json(const PushResult& result, const PushOptions& options);

// One line: "N added, N changed …".
std::string push_summary(const PushResult& result);
std::string part_summary(const PushResult& result, const Part& part);

// A line "<sha256>  <name>" for each verified file, names escaped as sha256sum does.
std::string push_manifest(const PushResult& result);

}  // namespace mu
