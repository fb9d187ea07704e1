// SPDX-License-Identifier: Apache-2.0
// What a scalar without quotes is: for the Hub, which reads with js-yaml 4 (YAML 1.2), and for Python, which reads
// with PyYAML (YAML 1.1).
#pragma once

#include <cstdint>
#include <string_view>

namespace mu {

enum class YamlKind : std::uint8_t { kNull, kBool, kNumber, kDate, kString, kList, kMap };

YamlKind hub_kind(std::string_view plain);
YamlKind python_kind(std::string_view plain);

// PyYAML refuses an unquoted value that looks like something it is not. Returns what it looks like ("a day" for
// "2024-02-30"); empty for a value that PyYAML reads.
std::string_view python_misses(std::string_view plain);

}  // namespace mu
