// SPDX-License-Identifier: Apache-2.0
// A card judged as the Hub's validate-yaml endpoint would, offline, and as its readers would. One table of
// rules.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "card/front_matter.h"

namespace mu {

struct LintRule {
  std::string_view id;
  bool is_error;    // the Hub refuses the card, or it gives a secret away
  bool is_fixable;  // as a rule; a finding may be where it can't be
  std::string_view advice;
};
const std::vector<LintRule>& lint_rules();

struct LintFinding {
  const LintRule* rule;
  std::size_t line;
  std::string message;
  bool is_fixable;
};
// In the order of lines.
std::vector<LintFinding> lint_card(const CardFile& card);

// The card with everything mended that can be mended without asking.
std::string fix_card(const CardFile& card);

// One line a finding, and one JSON document.
std::string lint_text(const std::vector<LintFinding>& findings, std::string_view file);
std::string lint_json(const std::vector<LintFinding>& findings, std::string_view file);

}  // namespace mu
