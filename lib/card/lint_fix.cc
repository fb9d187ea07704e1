// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/text.h"
#include "card/lint.h"
#include "card/placeholders.h"
#include "card/tables.h"

namespace mu {
namespace {

// The values of a key with each replaced where there is something better.
template <typename Better>
std::string better_entry(const YamlValue& value, std::string_view key, Better better) {
  std::vector<std::string> texts = value.texts();
  for (std::string& text : texts) text = better(text);
  if (value.kind == YamlValue::Kind::kList) return yaml_entry(key, texts);
  return texts.empty() ? "" : yaml_entry(key, texts.front());
}

std::string mended_lines(const CardFile& card, const CardKey& key) {
  const YamlValue& value = *card.data.find(key.key);
  const std::vector<std::string> texts = value.texts();
  const std::string as_it_is(card.lines_of(key));
  const bool licensed = card.find("license") != nullptr;
  if (key.key == "licence" && (value.text == "license" || licensed)) return "";
  if (key.key == "licence" && license_name(value.text)) return yaml_entry("license", value.text);
  if (key.key == "tags" && value.is_string()) return yaml_entry("tags", texts);
  const auto wrong = [&](auto known) {
    return std::any_of(texts.begin(), texts.end(), [&](const std::string& t) { return !known(t); });
  };
  // A text for the Hub that Python reads as something else.
  if (value.is_plain && value.is_string() && key.key != "language" &&
      python_kind(value.text) != YamlValue::Kind::kString)
    return yaml_entry(key.key, value.text);
  if (key.key == "license" && wrong([](const std::string& t) { return license_name(t).has_value(); }))
    return better_entry(value, "license", [](const std::string& t) {
      return license_name(t) ? t : suggest_license(t).value_or(t);
    });
  if (key.key != "language" || texts.empty()) return as_it_is;
  std::string lower = texts.front();
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (!wrong([](const std::string& t) { return is_language(t) && t != "no"; })) return as_it_is;
  return better_entry(value, "language", [](const std::string& t) {
    return is_language(t) ? t : suggest_language(t).value_or(t);
  });
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
