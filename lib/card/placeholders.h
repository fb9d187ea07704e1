// SPDX-License-Identifier: Apache-2.0
// Placeholders that generators leave for people to fill in ("[More Information Needed]"), and the sections
// that hold nothing else.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace mu {

bool is_placeholder(std::string_view line);

// What replaces the placeholder after this text ("- **License:** "), or nullopt.
using Fill = std::function<std::optional<std::string>(std::string_view label)>;

// The body with its placeholders filled in or removed. A heading goes with them if there is nothing below it
// but blank lines, other such headings and the template's own hints; everything that people wrote stays as it
// is.
std::string without_placeholders(std::string_view body, const Fill& fill);

}  // namespace mu
