// SPDX-License-Identifier: Apache-2.0
// The facts themselves, for people (one line for each fact, with its source) and for programs.
#pragma once

#include <string>

#include "card/facts.h"

namespace mu {

std::string facts_text(const CardFacts& facts);
std::string facts_json(const CardFacts& facts);

}  // namespace mu
