// SPDX-License-Identifier: Apache-2.0
// Brings an existing card up to date: the keys and regions that card-gen wrote are rewritten, and what people
// wrote stays byte for byte. Wrong facts in cards of TRL, PEFT and Transformers are repaired.
#pragma once

#include <string>
#include <vector>

#include "card/card_text.h"
#include "card/front_matter.h"

namespace mu {

struct CardUpdate {
  std::string text;                  // the new card
  std::vector<std::string> changes;  // what was out of date, one clause each
  std::vector<std::string> kept;     // where people's words differ from the facts, and stay
};

// Throws kMalformed for front matter that is never closed, kRefused for front matter that can't be edited by
// lines.
CardUpdate update_card(const CardFile& old, const CardText& fresh, const CardFacts& facts);

}  // namespace mu
