// SPDX-License-Identifier: Apache-2.0
// What a user of card-gen can say.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "card/facts.h"
#include "cli/app.h"

namespace mu {

struct CardGenOptions {
  std::vector<std::string> operands;
  CardOptions card;
  std::optional<std::string> style, plot, facts;
  bool in_place = false, check = false, lint = false, fix = false, preview = false, explain = false,
       strict = false;
  CommonOptions common;
};

// Throws kUsage for options that make no sense together or exclude one another.
CardGenOptions parse_card_options(int argc, char** argv);

}  // namespace mu
