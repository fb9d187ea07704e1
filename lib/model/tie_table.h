// SPDX-License-Identifier: Apache-2.0
// Which tensors Transformers ties in a model, by its config.json: the table in data/ties.txt, and whether the
// config switches its rules on. tests/interop/tie_rules.py writes the table from the library itself and says
// how its lines are to be read.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace mu {

// "target" repeats "source". Both are names of tensors or of modules, then all tensors below them are meant;
// "#" stands for a number, "~2" in a source for the first two numbers that the targets have, in turn.
struct TieNames {
  std::string target, source;
};

struct TieRule {
  std::vector<TieNames> names;  // as the class calls them, then other ways in which files spell them
  bool on = false;              // the config ties them
};

// The rules of a model class. There are none for a class that the table lacks, for code of the model's own,
// and without a config; `why` says which of these it is, in a clause.
struct TieRules {
  std::vector<TieRule> rules;
  std::string why;
  // Where false has to be written to switch all rules off, as paths of keys ("text_config",
  // "tie_word_embeddings"). `can_untie` is false where the class ties whatever the config says.
  std::vector<std::vector<std::string>> switches;
  bool can_untie = true;
  std::vector<std::string> heads;  // spellings of the output head's module where no rule names it
};
TieRules tie_rules_of(const ModelConfig& config);

// The rules of all classes, switched on: for files without a config.
TieRules tie_rules_of_any_class();

}  // namespace mu
