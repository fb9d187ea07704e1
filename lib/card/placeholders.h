// SPDX-License-Identifier: Apache-2.0
// What generators leave for people to write ("[More Information Needed]"), and the parts that hold nothing
// else.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace mu {

bool is_placeholder(std::string_view line);

// What to write in the place of a placeholder after this text ("- **License:** "), or nothing.
using Fill = std::function<std::optional<std::string>(std::string_view label)>;

// The body with its placeholders filled or gone. A heading goes with them when nothing but blank lines, other
// such headings and the template's own hints stood below it; all that people wrote stays as it is.
std::string without_placeholders(std::string_view body, const Fill& fill);

}  // namespace mu
