// SPDX-License-Identifier: Apache-2.0
// Judges the classes and functions that pickles name. The allow-list decides; the list of dangerous names only
// makes the verdict sharper, since lists of what is bad are never complete (picklescan and fickling document
// dozens of ways around theirs).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mu {

enum class Verdict : std::uint8_t { kHarmless, kUnknown, kDangerous };
std::string_view verdict_name(Verdict verdict);  // "harmless"

// Judges a global by its Python 3 name. `module` and `name` are as the pickle writes them; a name may have
// dots.
Verdict judge_global(std::string_view module, std::string_view name);

// Python 2 names become those of Python 3, as pickle.Unpickler(fix_imports=True) maps them.
std::string canonical_global(std::string_view module, std::string_view name);

// Whether torch.load(weights_only=True) resolves the name (torch/_weights_only_unpickler.py of torch 2.13;
// earlier ones know fewer).
bool is_weights_only_global(std::string_view canonical);

}  // namespace mu
