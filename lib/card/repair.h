// SPDX-License-Identifier: Apache-2.0
// What TRL, PEFT and Transformers leave in the cards that they write, and how it is repaired: names that name
// nothing, dead links, paths of the training machine, a quick start that loads something else, placeholders.
#pragma once

#include <string>
#include <vector>

#include "card/facts.h"
#include "card/front_matter.h"

namespace mu {

// Values of the front matter that can't be meant: the word None, paths, checkpoint folders, files of data.
bool is_bad_id(const std::string& id);
bool is_bad_dataset(const std::string& id);
bool is_bad_tag(const std::string& tag);

// Repairs the body of `card` and adds a clause to `changes` for each kind of repair.
void repair_body(std::string& body, const CardFile& card, const CardFacts& facts,
                 std::vector<std::string>& changes);

}  // namespace mu
