// SPDX-License-Identifier: Apache-2.0
#include "base/glob.h"

#include <algorithm>

#include "base/text.h"

namespace mu {
namespace {

std::u32string decode(std::string_view text) {
  std::u32string out;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = decode_utf8(text, i);
    out += point.value;
    i += point.size;
  }
  return out;
}

}  // namespace

Glob::Glob(std::string_view pattern) : pattern_(pattern) {
  const std::u32string text = decode(pattern);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == U'*') {
      if (elements_.empty() || elements_.back().kind != Element::kStar) elements_.push_back({Element::kStar});
      continue;
    }
    if (text[i] == U'?') {
      elements_.push_back({Element::kAny});
      continue;
    }
    // A set runs to the first ']' that is not its first member; without one, '[' is itself.
    std::size_t first = i + 1;
    if (text[i] == U'[') {
      const bool negated = first < text.size() && text[first] == U'!';
      if (negated) ++first;
      const std::size_t close = text.find(U']', first + 1);
      if (first < text.size() && close != std::u32string::npos) {
        Element set{negated ? Element::kNotSet : Element::kSet};
        for (std::size_t k = first; k < close; ++k) {
          if (k + 2 < close && text[k + 1] == U'-') {
            set.ranges.emplace_back(text[k], text[k + 2]);  // an upside-down range matches nothing
            k += 2;
          } else {
            set.ranges.emplace_back(text[k], text[k]);
          }
        }
        elements_.push_back(std::move(set));
        i = close;
        continue;
      }
    }
    elements_.push_back({Element::kCharacter, text[i]});
  }
}

bool Glob::matches_one(const Element& element, char32_t c) {
  if (element.kind == Element::kCharacter) return element.character == c;
  if (element.kind == Element::kAny) return true;
  const bool inside = std::any_of(element.ranges.begin(), element.ranges.end(),
                                  [c](const auto& range) { return c >= range.first && c <= range.second; });
  return inside == (element.kind == Element::kSet);
}

// Greedy with one point of return, the last star: quadratic at worst, never exponential.
bool Glob::matches(std::string_view text) const {
  std::size_t at = 0;
  std::size_t element = 0;
  std::size_t star_element = elements_.size();
  std::size_t star_at = 0;
  while (at < text.size()) {
    const CodePoint point = decode_utf8(text, at);
    if (element < elements_.size() && elements_[element].kind == Element::kStar) {
      star_element = element++;
      star_at = at;
    } else if (element < elements_.size() && matches_one(elements_[element], point.value)) {
      ++element;
      at += point.size;
    } else if (star_element < elements_.size()) {
      star_at += decode_utf8(text, star_at).size;
      at = star_at;
      element = star_element + 1;
    } else {
      return false;
    }
  }
  while (element < elements_.size() && elements_[element].kind == Element::kStar) ++element;
  return element == elements_.size();
}

bool glob_matches(std::string_view pattern, std::string_view text) {
  const std::size_t plain = pattern.find_first_of("*?[");
  if (plain == std::string_view::npos) return text == pattern;
  return text.starts_with(pattern.substr(0, plain)) && Glob(pattern).matches(text);
}

bool matches_any(const std::vector<Glob>& globs, std::string_view text) {
  return std::any_of(globs.begin(), globs.end(), [text](const Glob& glob) { return glob.matches(text); });
}

}  // namespace mu
