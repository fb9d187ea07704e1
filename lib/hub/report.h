// SPDX-License-Identifier: Apache-2.0
// What a push will do or has done, for people, for scripts and for sha256sum.
#pragma once

#include <string>

#include "hub/push.h"

namespace mu {

// A line a path (action, storage, size, name) and a line of totals.
std::string push_plan_text(const PushResult& result);

// One document, schema modelutils.hub-push/1.
std::string push_json(const PushResult& result, const PushOptions& options);

// "N files added, N changed …", one line.
std::string push_summary(const PushResult& result);
std::string part_summary(const PushResult& result, const Part& part);

// "<sha256>  <name>" a line, names escaped as sha256sum does.
std::string push_manifest(const PushResult& result);

}  // namespace mu
