// SPDX-License-Identifier: Apache-2.0
#include "card/placeholders.h"

#include <algorithm>
#include <vector>

#include "base/text.h"
#include "card/card_text.h"
#include "card/tables.h"

namespace mu {
namespace {

constexpr std::string_view kNeeded = "[More Information Needed]";

enum class LineKind : std::uint8_t { kText, kBlank, kHint, kPlaceholder, kHeading };

struct Line {
  std::string text;  // with its line end
  LineKind kind = LineKind::kText;
  std::size_t level = 0;  // of a heading
};

// "**BibTeX:**" alone introduces what follows, like the template's own words.
bool is_hint(std::string_view text) {
  constexpr std::size_t kShortest = 40;  // the template's sentences are longer, so most lines need no hash
  return (text.starts_with("**") && text.ends_with(":**") && text.size() < 60) ||
         (text.size() >= kShortest && is_template_hint(short_hash(text)));
}

// Whether a line says more than the placeholder, "- **Label:**" and hints.
bool says_more(std::string_view line) {
  std::string rest(trim(line));
  rest.erase(rest.find(kNeeded), kNeeded.size());
  std::string_view text = trim(rest);
  if (const std::size_t comment = text.find("<!--"); comment != std::string_view::npos) {
    if (!text.ends_with("-->") || !is_hint(text.substr(comment))) return true;
    text = trim(text.substr(0, comment));
  }
  if (text.starts_with("- ") || text.starts_with("* ")) text = trim(text.substr(2));
  const bool label = text.ends_with(":") || (text.starts_with("**") && text.ends_with("**"));
  return !text.empty() && !(label && text.size() < 80);
}

std::vector<Line> classified(std::string_view body) {
  std::vector<Line> lines;
  bool fenced = false;
  for (std::size_t at = 0; at < body.size();) {
    const std::size_t end = body.find('\n', at);
    const std::size_t next = end == std::string_view::npos ? body.size() : end + 1;
    Line line{std::string(body.substr(at, next - at))};
    at = next;
    const std::string_view text = trim(line.text);
    if (text.starts_with("```") || text.starts_with("~~~")) {
      fenced = !fenced;
    } else if (text.empty()) {
      line.kind = LineKind::kBlank;
    } else if (!fenced && is_placeholder(line.text)) {
      line.kind = LineKind::kPlaceholder;
    } else if (!fenced && line.text.front() == '#') {
      const std::size_t level = line.text.find_first_not_of('#');
      if (level <= 6 && line.text[level] == ' ') line.kind = LineKind::kHeading, line.level = level;
    } else if (!fenced && is_hint(text)) {
      line.kind = LineKind::kHint;
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

// The end of the section of the heading at `i`, including deeper headings; PEFT appends its versions below
// whatever comes last.
std::size_t section_end(const std::vector<Line>& lines, std::size_t i) {
  const auto is_other = [&](const Line& line) {
    return line.kind == LineKind::kHeading &&
           (line.level <= lines[i].level || trim(line.text) == "### Framework versions");
  };
  std::size_t end = i + 1;
  while (end < lines.size() && !is_other(lines[end])) ++end;
  return end;
}

// Transformers writes this heading even if it has no table to put below.
bool is_always_written(const Line& line) {
  return trim(line.text) == "### Training results";
}

bool is_hollow(const std::vector<Line>& lines, std::size_t i, std::size_t end) {
  if (lines[i].level < 2) return false;  // the title
  bool gap = is_always_written(lines[i]);
  for (std::size_t k = i + 1; k < end; ++k) {
    if (lines[k].kind == LineKind::kText) return false;
    gap = gap || lines[k].kind == LineKind::kPlaceholder;
  }
  return gap;
}

}  // namespace

bool is_placeholder(std::string_view line) {
  const std::string_view text = trim(line);
  return text.find(kNeeded) != std::string_view::npos || text == "More information needed";
}

std::string without_placeholders(std::string_view body, const Fill& fill) {
  std::vector<Line> lines = classified(body);
  for (Line& line : lines) {
    if (line.kind != LineKind::kPlaceholder) continue;
    const std::size_t mark = line.text.find(kNeeded);
    if (mark == std::string::npos) continue;
    const std::optional<std::string> value = fill(std::string_view(line.text).substr(0, mark));
    if (!value && !says_more(line.text)) continue;
    line.text.replace(mark, kNeeded.size(), value.value_or(""));
    line.kind = LineKind::kText;
  }
  std::string out;
  bool after_gap = false;
  for (std::size_t i = 0; i < lines.size();) {
    const std::size_t end = lines[i].kind == LineKind::kHeading ? section_end(lines, i) : i + 1;
    if (lines[i].kind == LineKind::kHeading && is_hollow(lines, i, end)) {
      i = end;
      continue;
    }
    // The blank line before a placeholder is enough for the one after it.
    if (lines[i].kind == LineKind::kPlaceholder) {
      after_gap = true;
    } else {
      if (!(after_gap && lines[i].kind == LineKind::kBlank)) out += lines[i].text;
      after_gap = false;
    }
    ++i;
  }
  return out;
}

}  // namespace mu
