// SPDX-License-Identifier: Apache-2.0
#include "card/markdown.h"

#include <algorithm>
#include <cctype>

#include "base/json_write.h"
#include "base/text.h"

namespace mu {
namespace {

// The length of the longest run of backticks.
std::size_t longest_run(std::string_view text) {
  std::size_t longest = 0, run = 0;
  for (const char c : text) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  return longest;
}

// Writes control and invisible characters as escapes, line ends as blanks.
std::string one_line(std::string_view text) {
  std::string flat(text);
  for (char& c : flat) {
    if (c == '\n' || c == '\r' || c == '\t') c = ' ';
  }
  std::string out;
  for (const char c : escape_name(flat)) {
    // escape_name doubles backslashes for terminals; Markdown has its own escapes.
    if (c == '\\' && !out.empty() && out.back() == '\\') continue;
    out += c;
  }
  return out;
}

}  // namespace

std::string md_text(std::string_view text) {
  const std::string flat = one_line(text);
  std::string out;
  for (std::size_t i = 0; i < flat.size(); ++i) {
    const char c = flat[i];
    const auto word = [&](std::size_t at) {
      return at < flat.size() && std::isalnum(static_cast<unsigned char>(flat[at])) != 0;
    };
    const bool inside_word = i > 0 && word(i - 1) && word(i + 1);
    const bool starts = i == 0 && std::string_view("#+-=>").find(c) != std::string_view::npos;
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else if (starts || std::string_view("\\`*[]|~$").find(c) != std::string_view::npos ||
               (c == '_' && !inside_word)) {
      out += '\\';
      out += c;
    } else {
      out += c;
    }
  }
  return out;
}

std::string md_code(std::string_view text) {
  const std::string flat = one_line(text);
  const std::string fence(longest_run(flat) + 1, '`');
  const bool pad = flat.empty() || flat.front() == '`' || flat.back() == '`';
  return fence + (pad ? " " : "") + flat + (pad ? " " : "") + fence;
}

std::string md_link(std::string_view text, std::string_view url) {
  std::string safe;
  for (const char c : url) {
    const bool bad = static_cast<unsigned char>(c) <= ' ' ||
                     std::string_view("<>()\\|`\"").find(c) != std::string_view::npos;
    constexpr std::string_view kHex = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(c);
    if (bad)
      safe += {'%', kHex[byte >> 4U], kHex[byte & 15U]};
    else
      safe += c;
  }
  return "[" + md_text(text) + "](" + safe + ")";
}

std::string md_block(std::string_view language, std::string_view text) {
  const std::string fence(std::max<std::size_t>(3, longest_run(text) + 1), '`');
  std::string out = fence + std::string(language) + "\n" + std::string(text);
  if (!out.ends_with('\n')) out += '\n';
  return out + fence + "\n";
}

std::string python_text(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

std::string md_table(const std::vector<std::string>& header,
                     const std::vector<std::vector<std::string>>& rows) {
  std::string out = "|";
  for (const std::string& cell : header) out += " " + cell + " |";
  out += "\n|";
  for (std::size_t i = 0; i < header.size(); ++i) out += i == 0 ? "---|" : "---:|";
  out += "\n";
  // A table splits at '|' even inside code.
  const auto guarded = [](const std::string& cell) {
    std::string text;
    for (const char c : cell) {
      if (c == '|' && !text.ends_with('\\')) text += '\\';
      text += c;
    }
    return text;
  };
  for (const std::vector<std::string>& row : rows) {
    out += "|";
    for (const std::string& cell : row) out += " " + guarded(cell) + " |";
    out += "\n";
  }
  return out;
}

}  // namespace mu
