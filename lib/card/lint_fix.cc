// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/text.h"
#include "card/lint.h"
#include "card/placeholders.h"
#include "card/tables.h"

namespace mu {
namespace {

// A plain scalar written anew on its own line, with all that stands around it (comments, brackets) kept. One
// that is not found there (it goes on over several lines) stays.
void replace_scalar(std::string& lines, std::size_t first_line, const YamlValue& value,
                    const std::string& better) {
  std::size_t begin = 0;
  for (std::size_t line = first_line; line < value.line; ++line) {
    begin = lines.find('\n', begin);
    if (begin++ == std::string::npos) return;
  }
  const std::size_t end = std::min(lines.find('\n', begin), lines.size());
  for (std::size_t at = lines.find(value.text, begin); at < end && !value.text.empty();
       at = lines.find(value.text, at + 1)) {
    const std::size_t after = at + value.text.size();
    const bool whole =
        at > begin && std::string_view(" [,").find(lines[at - 1]) != std::string_view::npos &&
        (after == lines.size() || std::string_view(" \r\n,]}").find(lines[after]) != std::string_view::npos);
    if (!whole) continue;
    lines.replace(at, value.text.size(), better);
    return;
  }
}

// Calls each(value) for every plain scalar, the last in the text first, so that lines stay where they were.
template <typename Each>
void each_plain(const YamlValue& value, Each each) {
  for (auto member = value.members.rbegin(); member != value.members.rend(); ++member)
    each_plain(member->value, each);
  for (auto item = value.items.rbegin(); item != value.items.rend(); ++item) each_plain(*item, each);
  if (value.is_plain) each(value);
}

std::optional<std::string> better_identifier(std::string_view key, const std::string& text) {
  if (key == "license" && !license_name(text)) return suggest_license(text);
  if (key == "language" && !is_language(text)) return suggest_language(text);
  return std::nullopt;
}

std::string mended_lines(const CardFile& card, const CardKey& key) {
  const YamlValue& value = *card.data.find(key.key);
  std::string lines(card.lines_of(key));
  const bool licensed = card.find("license") != nullptr;
  if (key.key == "licence" && (value.text == "license" || licensed)) return "";
  if (key.key == "licence" && license_name(value.text)) return yaml_entry("license", value.text);
  if (key.key == "tags" && value.is_string()) return yaml_entry("tags", value.texts());
  // A quoted identifier stands alone on its line, as a rule; with a comment it is left to its author.
  if (value.is_string() && !value.is_plain && lines.find('#') == std::string::npos) {
    if (const std::optional<std::string> better = better_identifier(key.key, value.text))
      return yaml_entry(key.key, *better);
  }
  const std::size_t first = line_at(card.text, key.begin);
  each_plain(value, [&](const YamlValue& scalar) {
    const std::optional<std::string> better = better_identifier(key.key, scalar.text);
    // A text for the Hub that Python reads as something else.
    const bool misread = scalar.is_string() && python_kind(scalar.text) != YamlValue::Kind::kString;
    if (better || misread) replace_scalar(lines, first, scalar, yaml_string(better.value_or(scalar.text)));
  });
  return lines;
}

}  // namespace

std::string fix_card(const CardFile& card) {
  std::string out;
  std::size_t at = card.has_bom ? 3 : 0;
  for (const CardKey& key : card.keys) {
    out += card.text.substr(at, key.begin - at);
    std::string lines = mended_lines(card, key);
    if (lines != card.lines_of(key) && card.eol == "\r\n") {
      std::string crlf;
      for (const char c : lines) crlf += c == '\n' ? "\r\n" : std::string(1, c);
      lines = std::move(crlf);
    }
    out += lines;
    at = key.end;
  }
  const std::size_t body = std::max(at, card.body_begin);
  return out + card.text.substr(at, body - at) +
         without_placeholders(std::string_view(card.text).substr(body),
                              [](std::string_view) { return std::nullopt; });
}

}  // namespace mu
