// SPDX-License-Identifier: Apache-2.0
#include "card/front_matter.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

constexpr std::string_view kBom = "\xEF\xBB\xBF";

std::size_t line_end(std::string_view text, std::size_t at) {
  const std::size_t end = text.find('\n', at);
  return end == std::string_view::npos ? text.size() : end + 1;
}

// The number of the line that holds a byte.
std::size_t line_at(std::string_view text, std::size_t byte) {
  const std::string_view before = text.substr(0, byte);
  return 1 + static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
}

std::string_view without_eol(std::string_view line) {
  if (!line.ends_with('\n')) return line;
  line.remove_suffix(line.ends_with("\r\n") ? 2 : 1);
  return line;
}

void find_fences(CardFile& card) {
  const std::string_view text = card.text;
  std::size_t at = card.has_bom ? kBom.size() : 0;
  while (at < text.size() && std::string_view(" \t\r\n").find(text[at]) != std::string_view::npos) ++at;
  const std::size_t first = line_end(text, at);
  if (without_eol(text.substr(at, first - at)) != "---" || first == at + 3) return;
  card.yaml_begin = first;
  bool closed_at_once = false;  // the reference requires a line between the fences
  for (std::size_t line = first; line < text.size(); line = line_end(text, line)) {
    std::string_view content = without_eol(text.substr(line, line_end(text, line) - line));
    content = content.substr(0, content.find_last_not_of(" \t") + 1);
    if (content != "---") continue;
    if (line == first) {
      closed_at_once = true;
      continue;
    }
    card.has_front_matter = true;
    card.yaml_end = line;
    card.body_begin = line_end(text, line);
    return;
  }
  card.unterminated = !closed_at_once;
}

// The lines of a key end where the comments and blank lines before the next key begin.
void find_keys(CardFile& card) {
  const std::string_view text = card.text;
  std::vector<std::size_t> starts;  // of each line of YAML
  for (std::size_t at = card.yaml_begin; at < card.yaml_end; at = line_end(text, at)) starts.push_back(at);
  const std::vector<YamlValue::Member>& members = card.data.members;
  for (std::size_t i = 0; i < members.size(); ++i) {
    const std::size_t first = members[i].line - card.yaml_line;
    std::size_t last = i + 1 < members.size() ? members[i + 1].line - card.yaml_line : starts.size();
    while (last > first + 1) {
      const std::string_view line =
          trim(text.substr(starts[last - 1], line_end(text, starts[last - 1]) - starts[last - 1]));
      if (!line.empty() && line.front() != '#') break;
      --last;
    }
    card.keys.push_back({members[i].key, starts[first], last < starts.size() ? starts[last] : card.yaml_end});
  }
}

}  // namespace

const CardKey* CardFile::find(std::string_view key) const {
  const auto found = std::find_if(keys.begin(), keys.end(), [key](const CardKey& k) { return k.key == key; });
  return found == keys.end() ? nullptr : &*found;
}

CardFile read_card(std::string text) {
  CardFile card;
  card.text = std::move(text);
  card.has_bom = card.text.starts_with(kBom);
  const auto count = [&](std::string_view what) {
    std::size_t n = 0;
    for (std::size_t at = card.text.find(what); at != std::string::npos;
         at = card.text.find(what, at + what.size()))
      ++n;
    return n;
  };
  const std::size_t crlf = count("\r\n");
  if (crlf > 0 && crlf == count("\n")) card.eol = "\r\n";
  find_fences(card);
  if (!card.has_front_matter) return card;
  card.yaml_line = line_at(card.text, card.yaml_begin);
  card.data = parse_yaml(std::string_view(card.text).substr(card.yaml_begin, card.yaml_end - card.yaml_begin),
                         card.yaml_line);
  if (card.data.kind == YamlValue::Kind::kMap && !card.data.is_flow) find_keys(card);
  return card;
}

void require_mapping(const CardFile& card) {
  const YamlValue::Kind kind = card.data.kind;
  if (kind != YamlValue::Kind::kNull && kind != YamlValue::Kind::kMap)
    throw malformed("the front matter must be a mapping of keys to values")
        .at(fmt::format("line {}", card.data.line));
}

}  // namespace mu
