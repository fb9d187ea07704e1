// SPDX-License-Identifier: Apache-2.0
// Names as other systems compare them: to macOS "é" in one character (NFC) and in two (NFD) are the same, and
// like Windows it ignores case. The tables are our own (data/names.py): a library for this alone would be one
// more dependency of every package.
#pragma once

#include <string>
#include <string_view>

namespace mu {

// The name in canonical decomposition (Unicode, NFD), with `fold` also in folded case. Bytes that are not
// UTF-8 stay.
std::string canonical_name(std::string_view name, bool fold);

}  // namespace mu
