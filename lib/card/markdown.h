// SPDX-License-Identifier: Apache-2.0
// Turns text into Markdown that nothing in the text can break out of.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

std::string md_text(std::string_view text);  // one line; everything Markdown or HTML would act on is escaped
std::string md_code(std::string_view text);  // a code span, its fence longer than any run of backticks inside
std::string md_link(std::string_view text, std::string_view url);
std::string md_block(std::string_view language, std::string_view text);  // a fenced block
std::string python_text(std::string_view text);                          // a literal for both Python and JSON

// A table; its cells are Markdown already.
std::string md_table(const std::vector<std::string>& header,
                     const std::vector<std::vector<std::string>>& rows);

// The text with every line end as `eol`.
std::string with_line_ends(std::string_view text, const std::string& eol);

// Where the first line begins that starts with one of `headings` ("## Usage"), or is one that ends with a newline, and
// is not inside a block of code.
std::optional<std::size_t> find_heading(std::string_view body, std::span<const std::string_view> headings);
inline std::optional<std::size_t> find_heading(std::string_view body,
                                               std::initializer_list<std::string_view> headings) {
  return find_heading(body, std::span(headings.begin(), headings.size()));
}

}  // namespace mu
