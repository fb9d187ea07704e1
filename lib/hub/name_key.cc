// SPDX-License-Identifier: Apache-2.0
#include "hub/name_key.h"

#include <algorithm>
#include <charconv>
#include <unordered_map>
#include <vector>

#include "base/text.h"

namespace mu {

extern const std::string_view kNamesTable;  // data/names.txt

namespace {

constexpr char32_t kRawByte = 0x110000;  // above all characters: a byte that is not one

// Hangul syllables are arithmetic (The Unicode Standard, 3.12).
constexpr char32_t kHangul = 0xAC00, kLead = 0x1100, kVowel = 0x1161, kTrail = 0x11A7;
constexpr char32_t kVowels = 21, kTrails = 28, kSyllables = 11172;

struct Marks {
  char32_t first, last, order;  // combining class
};

class Tables {
 public:
  Tables() {
    for (const std::string_view line : split(kNamesTable, '\n')) {
      if (line.size() < 2 || line.front() == '#') continue;
      std::u32string numbers;
      for (const std::string_view word : split(line.substr(2), ' ')) {
        std::uint32_t value = 0;
        std::from_chars(word.data(), word.data() + word.size(), value, 16);
        numbers += static_cast<char32_t>(value);
      }
      if (line.front() == 'C')
        marks_.push_back({numbers[0], numbers[1], numbers[2]});
      else
        (line.front() == 'D' ? decomposed_ : folded_).emplace(numbers[0], numbers.substr(1));
    }
  }

  [[nodiscard]] std::u32string decompose(const std::u32string& text) const {
    std::u32string out;
    for (const char32_t c : text) {
      if (c >= kHangul && c < kHangul + kSyllables) {
        const char32_t index = c - kHangul;
        out += kLead + index / (kVowels * kTrails);
        out += kVowel + index % (kVowels * kTrails) / kTrails;
        if (index % kTrails != 0) out += kTrail + index % kTrails;
      } else {
        append(out, decomposed_, c);
      }
    }
    // Marks on one letter are sorted by their classes.
    for (std::size_t i = 0; i < out.size(); ++i) {
      std::size_t end = i;
      while (end < out.size() && order(out[end]) != 0) ++end;
      std::stable_sort(out.begin() + static_cast<std::ptrdiff_t>(i),
                       out.begin() + static_cast<std::ptrdiff_t>(end),
                       [this](char32_t a, char32_t b) { return order(a) < order(b); });
      i = end;
    }
    return out;
  }

  [[nodiscard]] std::u32string fold(const std::u32string& text) const {
    std::u32string out;
    for (const char32_t c : text) {
      if (c >= 'A' && c <= 'Z')
        out += c - 'A' + 'a';
      else
        append(out, folded_, c);
    }
    return out;
  }

 private:
  using Map = std::unordered_map<char32_t, std::u32string>;

  static void append(std::u32string& out, const Map& map, char32_t c) {
    const auto found = map.find(c);
    if (found == map.end())
      out += c;
    else
      out += found->second;
  }

  [[nodiscard]] char32_t order(char32_t c) const {
    const auto after =
        std::upper_bound(marks_.begin(), marks_.end(), c,
                         [](char32_t wanted, const Marks& marks) { return wanted < marks.first; });
    return after != marks_.begin() && c <= std::prev(after)->last ? std::prev(after)->order : 0;
  }

  Map decomposed_, folded_;
  std::vector<Marks> marks_;  // by character
};

}  // namespace

std::string canonical_name(std::string_view name, bool fold) {
  std::string out(name);
  if (std::all_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; })) {
    if (fold)
      std::transform(out.begin(), out.end(), out.begin(),
                     [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return out;
  }
  static const Tables tables;
  std::u32string text;
  for (std::size_t i = 0; i < name.size();) {
    const CodePoint c = decode_utf8(name, i);
    text += c.valid ? c.value : kRawByte + c.value;
    i += c.size;
  }
  text = tables.decompose(text);
  if (fold) text = tables.decompose(tables.fold(text));
  out.clear();
  for (const char32_t c : text) {
    if (c >= kRawByte)
      out += static_cast<char>(c - kRawByte);
    else
      append_utf8(out, c);
  }
  return out;
}

}  // namespace mu
