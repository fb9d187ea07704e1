// SPDX-License-Identifier: Apache-2.0
#include "card/markdown.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <iterator>

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

// Characters that reorder the text around them, or hide text: nobody should meet them in a card unseen. Joiners and
// direction marks belong to emoji and to scripts such as Persian's, and stay.
bool must_show(char32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x202A && c <= 0x202E) ||
         (c >= 0x2066 && c <= 0x2069) || c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFB) ||
         (c >= 0xE0000 && c <= 0xE0FFF);
}

// Text as one line: line ends become blanks, what must be seen is written as an escape.
std::string one_line(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = decode_utf8(text, at);
    if (!point.valid) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(text[at]));
    } else if (point.value == '\n' || point.value == '\r' || point.value == '\t' || point.value == 0x2028 ||
               point.value == 0x2029) {
      out += ' ';
    } else if (must_show(point.value)) {
      fmt::format_to(std::back_inserter(out), "\\u{{{:x}}}", static_cast<std::uint32_t>(point.value));
    } else {
      out += text.substr(at, point.size);
    }
    at += point.size;
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

std::string with_line_ends(std::string_view text, const std::string& eol) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      out += eol;
    } else if (c != '\r') {
      out += c;
    }
  }
  return out;
}

std::optional<std::size_t> find_heading(std::string_view body, std::span<const std::string_view> headings) {
  std::string_view fence;  // that opened a block of code
  for (std::size_t at = 0; at < body.size();) {
    const std::size_t end = std::min(body.find('\n', at), body.size());
    const std::string_view line = body.substr(at, end - at);
    const std::size_t run = line.find_first_not_of(line.starts_with("~") ? '~' : '`');
    const std::string_view marks = line.substr(0, std::min(run, line.size()));
    if (fence.empty() && marks.size() >= 3) {
      fence = marks;
    } else if (!fence.empty() && marks.starts_with(fence) && trim(line).size() == marks.size()) {
      fence = {};
    } else if (fence.empty() && line.starts_with("#")) {
      for (const std::string_view heading : headings) {
        const bool whole = heading.ends_with('\n');
        if (whole ? trim(line) == trim(heading) : line.starts_with(heading)) return at;
      }
    }
    at = end + 1;
  }
  return std::nullopt;
}

}  // namespace mu
