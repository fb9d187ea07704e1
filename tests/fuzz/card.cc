// SPDX-License-Identifier: Apache-2.0
// Model cards that others wrote: front matter, judging, mending, and updating in place.
#include <cstdlib>

#include "card/lint.h"
#include "card/update.h"

#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const mu::CardFile card = mu::read_card(std::string(mu::fuzzing::as_view(data, size)));
    mu::lint_card(card);
    mu::read_card(mu::fix_card(card));
    mu::CardFacts facts;
    facts.add("base_model", "a/b", "test");
    facts.add_list("tags", {"x"}, "test");
    const mu::CardText fresh = mu::compose_card(facts, mu::CardStyle::kFull, "");
    const mu::CardUpdate once = mu::update_card(card, fresh, facts);
    // What was written must be readable, and a second run must leave it alone.
    try {
      if (mu::update_card(mu::read_card(once.text), fresh, facts).text != once.text) std::abort();
    } catch (const mu::Error&) {
      std::abort();
    }
  } catch (const mu::Error&) {
  }
  return 0;
}
