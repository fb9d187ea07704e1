// SPDX-License-Identifier: Apache-2.0
// How names are kept apart. First all are cut at the usual place; often that is enough. If some then look
// alike, names with the same beginning form a family. The beginning and the end that a whole family has in
// common are cut, so that the middle, in which its names differ, stays whole if there is room. If there is no
// room, another place for a single cut is looked for, as near to the usual one as possible. If no single cut
// keeps the family apart, the middles are cut by the same rules. Every shortened name keeps a few columns of
// its beginning, so that families stay apart, too.
#include "base/apart.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/text.h"

namespace mu {
namespace {

constexpr std::string_view kEllipsis = "…";
constexpr std::size_t kStart = 4;      // columns of the beginning that stay
constexpr std::size_t kLeastRest = 8;  // columns that a middle needs to be of use
// How many bytes of names are worth trying other places of a cut (a hundred times and more), and how many are
// worth cutting common beginnings (a dozen times): hostile names must not cost minutes.
constexpr std::size_t kMostTried = 64U << 10, kMostDivided = 16U << 20;

using Names = std::vector<std::string>;

bool is_inside_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80;
}

// The longest beginning and end of at most so many columns.
std::string_view first_columns(std::string_view text, std::size_t columns) {
  std::size_t end = 0;
  for (std::size_t width = 0; end < text.size();) {
    const std::size_t size = decode_utf8(text, end).size;
    width += display_width(text.substr(end, size));
    if (width > columns) break;
    end += size;
  }
  return text.substr(0, end);
}

std::string_view last_columns(std::string_view text, std::size_t columns) {
  std::size_t begin = 0;
  for (std::size_t left = display_width(text); left > columns;) {
    const std::size_t size = decode_utf8(text, begin).size;
    left -= display_width(text.substr(begin, size));
    begin += size;
  }
  return text.substr(begin);
}

// Cuts `text` to `columns`: `head` columns, `mark` in the place of what is missing, then the end.
std::string cut(std::string_view text, std::size_t head, std::size_t columns,
                std::string_view mark = kEllipsis) {
  const std::size_t room = columns - std::min(columns, display_width(mark));
  const std::string_view start = first_columns(text, std::min(head, room));
  return std::string(start) + std::string(mark) +
         std::string(last_columns(text.substr(start.size()), room - display_width(start)));
}

std::size_t usual_head(std::size_t columns) {
  return (columns + 2) / 3 - (columns > 0 ? 1 : 0);
}

// How many bytes are the same at the beginning of all names (or, below, at the end); no character is divided.
std::size_t common_start(const Names& names) {
  const std::string& first = names.front();
  std::size_t size = first.size();
  for (const std::string& name : names) {
    const std::size_t most = std::min(size, name.size());
    size = static_cast<std::size_t>(
        std::mismatch(name.begin(), name.begin() + static_cast<std::ptrdiff_t>(most), first.begin()).first -
        name.begin());
  }
  while (size > 0 && size < first.size() && is_inside_character(first[size])) --size;
  return size;
}

std::size_t common_end(const Names& names, std::size_t start) {
  const std::string& first = names.front();
  std::size_t size = first.size() - start;
  for (const std::string& name : names) {
    const std::size_t most = std::min(size, name.size() - start);
    size = static_cast<std::size_t>(
        std::mismatch(name.rbegin(), name.rbegin() + static_cast<std::ptrdiff_t>(most), first.rbegin())
            .first -
        name.rbegin());
  }
  while (size > 0 && is_inside_character(first[first.size() - size])) --size;
  return size;
}

Names cut_all(const Names& names, std::size_t head, std::size_t columns) {
  Names shown;
  shown.reserve(names.size());
  for (const std::string& name : names)
    shown.push_back(display_width(name) <= columns ? name : cut(name, head, columns));
  return shown;
}

std::size_t bytes_of(const Names& names) {
  std::size_t bytes = 0;
  for (const std::string& name : names) bytes += name.size();
  return bytes;
}

std::size_t distinct(const Names& names) {
  return std::set<std::string_view>(names.begin(), names.end()).size();
}

// Makes the single cut that keeps most names apart; of several, the nearest to the usual one.
Names best_cut(const Names& names, std::size_t columns) {
  const std::size_t usual = usual_head(columns);
  Names best = cut_all(names, usual, columns);
  std::size_t most = distinct(best);
  if (bytes_of(names) > kMostTried) return best;
  for (std::size_t away = 1; away < columns && most < names.size(); ++away) {
    for (const std::size_t head : {std::max(usual - std::min(usual, away), kStart), usual + away}) {
      Names shown = cut_all(names, head, columns);
      const std::size_t count = distinct(shown);
      if (count <= most) continue;
      most = count;
      best = std::move(shown);
    }
  }
  return best;
}

// The beginning and the end that different names have in common, and their middles.
struct Parted {
  std::string start, end;
  Names between;
  std::size_t widest = 0;  // columns of the widest middle
};

Parted part(const Names& names) {
  const std::size_t start = common_start(names), end = common_end(names, start);
  Parted parted{names.front().substr(0, start), names.front().substr(names.front().size() - end), {}, 0};
  for (const std::string& name : names) {
    parted.between.push_back(name.substr(start, name.size() - start - end));
    parted.widest = std::max(parted.widest, display_width(parted.between.back()));
  }
  return parted;
}

// `between` in at most `most` columns with as much of the start and end around it as there is room for.
Names framed(const Parted& parted, const Names& between, std::size_t most, std::size_t columns) {
  const std::size_t room = columns - most - 2 * display_width(kEllipsis);
  const std::size_t start = display_width(parted.start), end = display_width(parted.end);
  const std::size_t tail = std::min(end, room - std::min(start, std::max(kStart, room / 3)));
  const std::size_t head = std::min(start, room - tail);
  // An ellipsis in the place of a single column would save nothing.
  const std::string before = head + 1 >= start
                                 ? parted.start
                                 : std::string(first_columns(parted.start, head)) + std::string(kEllipsis);
  const std::string after =
      tail + 1 >= end ? parted.end : std::string(kEllipsis) + std::string(last_columns(parted.end, tail));
  Names shown;
  for (const std::string& name : between) shown.push_back(before + name + after);
  return shown;
}

Names apart(const Names& names, std::size_t columns);

// Shortens names of one family.
Names apart_in_family(const Names& names, std::size_t columns) {
  const Parted parted = part(names);
  const std::size_t around = kStart + 2 * display_width(kEllipsis);
  const bool gains = names.size() > 1 && columns >= around + kLeastRest &&
                     display_width(parted.start) + display_width(parted.end) > around;
  if (gains && parted.widest + around <= columns)
    return framed(parted, parted.between, parted.widest, columns);
  Names cut = best_cut(names, columns);
  if (!gains || distinct(cut) == names.size()) return cut;
  return framed(parted, apart(parted.between, columns - around), columns - around, columns);
}

// Shortens different names. Names that fit stay whole.
Names apart(const Names& names, std::size_t columns) {
  Names shown = cut_all(names, usual_head(columns), columns);
  if (distinct(shown) == names.size()) return shown;
  std::map<std::string_view, std::vector<std::size_t>> families;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (display_width(names[i]) > columns) families[first_columns(names[i], kStart)].push_back(i);
  }
  for (const auto& [beginning, members] : families) {
    Names family;
    for (const std::size_t i : members) family.push_back(names[i]);
    const Names better = apart_in_family(family, columns);
    for (std::size_t i = 0; i < members.size(); ++i) shown[members[i]] = better[i];
  }
  return shown;
}

}  // namespace

std::vector<std::string> shorten_apart(const std::vector<std::string>& names, std::size_t columns) {
  const auto fits = [columns](const std::string& name) { return display_width(name) <= columns; };
  if (std::all_of(names.begin(), names.end(), fits)) return names;
  const std::set<std::string> each(names.begin(), names.end());
  const Names different(each.begin(), each.end());
  const bool divides = bytes_of(different) <= kMostDivided;
  const Names shown = divides ? apart(different, columns) : cut_all(different, usual_head(columns), columns);
  std::set<std::string> taken;
  std::map<std::string_view, std::size_t> numbers;
  std::map<std::string_view, std::string> looks;
  for (std::size_t i = 0; i < different.size(); ++i) {
    std::string look = shown[i];
    std::size_t& number = numbers[shown[i]];
    while (!taken.insert(look).second)
      look = cut(different[i], usual_head(columns), columns, fmt::format("…{}…", number++ + 2));
    looks.emplace(different[i], std::move(look));
  }
  Names all;
  all.reserve(names.size());
  for (const std::string& name : names) all.push_back(looks.at(name));
  return all;
}

}  // namespace mu
