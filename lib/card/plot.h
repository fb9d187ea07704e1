// SPDX-License-Identifier: Apache-2.0
// The loss curve as an SVG, and as a line of block characters for a terminal.
#pragma once

#include <string>

#include "card/facts.h"

namespace mu {

// Training and evaluation loss over steps. The colours follow the reader's light or dark scheme. Throws
// kRefused if the facts hold no loss.
std::string loss_svg(const CardFacts& facts);

// "loss ▇▅▃▂▁ 4.74 → 2.42", with at most `width` columns of blocks; empty without a curve.
std::string loss_blocks(const CardFacts& facts, std::size_t width);

}  // namespace mu
