// SPDX-License-Identifier: Apache-2.0
// Names as other systems compare them: macOS takes "é" in one character (NFC) and in two (NFD) for the same,
// and like Windows pays no heed to case. By tables of our own (data/names.py): a library for this alone would
// be one more that every package depends on.
#pragma once

#include <string>
#include <string_view>

namespace mu {

// The name in canonical decomposition (Unicode, NFD), with `fold` without regard to case as well. Bytes that
// are no UTF-8 stay.
std::string canonical_name(std::string_view name, bool fold);

}  // namespace mu
