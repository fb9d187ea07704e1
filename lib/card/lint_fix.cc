// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/text.h"
#include "card/lint.h"
#include "card/markdown.h"
#include "card/placeholders.h"
#include "card/tables.h"
#include "card/yaml_scalars.h"

namespace mu {
namespace {

// Rewrites plain scalars of one key, each on its own line, and keeps everything around them (comments,
// brackets). A scalar that is not found there, because it continues over several lines, stays. They must be
// given from the last to the first: each is searched before the previous one, so a long list takes time in
// proportion to its length.
class ScalarEdits {
 public:
  ScalarEdits(std::string_view lines, std::size_t first_line)
      : lines_(lines), first_line_(first_line), limit_(lines.size()) {
    for (std::size_t at = 0; at < lines.size(); at = std::min(lines.find('\n', at), lines.size() - 1) + 1)
      begins_.push_back(at);
  }

  void replace(const YamlValue& value, std::string better) {
    const std::size_t line = value.line - first_line_;
    if (value.line < first_line_ || line >= begins_.size() || value.text.empty()) return;
    const std::size_t begin = begins_[line];
    const std::size_t end = std::min(limit_, line + 1 < begins_.size() ? begins_[line + 1] : lines_.size());
    if (end < begin + value.text.size()) return;
    const std::string_view here = lines_.substr(begin, end - begin);
    for (std::size_t at = here.rfind(value.text); at != std::string_view::npos && at > 0;
         at = here.rfind(value.text, at - 1)) {
      if (!is_whole(begin + at, value.text.size())) continue;
      edits_.push_back({begin + at, value.text.size(), std::move(better)});
      limit_ = begin + at;
      return;
    }
  }

  [[nodiscard]] std::string apply() const {
    std::string out;
    std::size_t at = 0;
    for (auto edit = edits_.rbegin(); edit != edits_.rend(); ++edit) {
      out += lines_.substr(at, edit->begin - at);
      out += edit->text;
      at = edit->begin + edit->size;
    }
    return out.append(lines_.substr(at));
  }

 private:
  struct Edit {
    std::size_t begin, size;  // bytes
    std::string text;
  };

  [[nodiscard]] bool is_whole(std::size_t at, std::size_t size) const {
    const std::size_t after = at + size;
    return std::string_view(" [,").find(lines_[at - 1]) != std::string_view::npos &&
           (after == lines_.size() ||
            std::string_view(" \r\n,]}").find(lines_[after]) != std::string_view::npos);
  }

  std::string_view lines_;
  std::size_t first_line_;
  std::size_t limit_;  // the start of the scalar found last
  std::vector<std::size_t> begins_;
  std::vector<Edit> edits_;
};

// Calls each(value) for every plain scalar, from the last to the first, so that the others keep their lines.
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

std::string repaired_lines(const CardFile& card, const CardKey& key, const YamlValue& value,
                           std::size_t first_line) {
  std::string lines(card.lines_of(key));
  const bool licensed = key.key == "licence" && card.find("license") != nullptr;
  if (key.key == "licence" && (value.text == "license" || licensed)) return "";
  if (key.key == "licence" && license_name(value.text)) return yaml_entry("license", value.text);
  if (key.key == "tags" && value.is_string()) return yaml_entry("tags", value.texts());
  // A quoted identifier is usually alone on its line; one with a comment is left to its author.
  if (value.is_string() && !value.is_plain && lines.find('#') == std::string::npos) {
    if (const std::optional<std::string> better = better_identifier(key.key, value.text))
      return yaml_entry(key.key, *better);
  }
  ScalarEdits edits(lines, first_line);
  each_plain(value, [&](const YamlValue& scalar) {
    const std::optional<std::string> better = better_identifier(key.key, scalar.text);
    // Text for the Hub that Python reads as something else.
    const bool misread = scalar.is_string() && python_kind(scalar.text) != YamlValue::Kind::kString;
    if (better || misread) edits.replace(scalar, yaml_string(better.value_or(scalar.text)));
  });
  return edits.apply();
}

}  // namespace

std::string fix_card(const CardFile& card) {
  std::string out;
  std::size_t at = card.has_bom ? 3 : 0;
  for (std::size_t i = 0; i < card.keys.size(); ++i) {
    const CardKey& key = card.keys[i];
    const YamlValue::Member& member = card.data.members[i];
    out.append(card.text, at, key.begin - at);
    std::string lines = repaired_lines(card, key, member.value, member.line);
    if (lines != card.lines_of(key) && card.eol == "\r\n") lines = with_line_ends(lines, card.eol);
    out += lines;
    at = key.end;
  }
  const std::size_t body = std::max(at, card.body_begin);
  return out + card.text.substr(at, body - at) +
         without_placeholders(std::string_view(card.text).substr(body),
                              [](std::string_view) { return std::nullopt; });
}

}  // namespace mu
