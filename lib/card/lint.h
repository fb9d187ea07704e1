// SPDX-License-Identifier: Apache-2.0
// Judges a card offline, as the validate-yaml endpoint of the Hub would, and as its readers would. One table
// of rules.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "card/front_matter.h"

namespace mu {

struct LintRule {
  std::string_view id;
  bool is_error;    // the Hub refuses the card, or it holds a secret
  bool is_fixable;  // usually; for some findings it is not
  std::string_view advice;
};
const std::vector<LintRule>& lint_rules();

struct LintFinding {
  const LintRule* rule;
  std::size_t line;
  std::string message;
  bool is_fixable;
};
// The findings, in the order of lines.
std::vector<LintFinding> lint_card(const CardFile& card);

// The card with everything repaired that can be repaired without asking.
std::string fix_card(const CardFile& card);

// The findings as text, one line each, and as one JSON document.
std::string lint_text(const std::vector<LintFinding>& findings, std::string_view file);
std::string lint_json(const std::vector<LintFinding>& findings, std::string_view file);

}  // namespace mu
