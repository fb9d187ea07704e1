// SPDX-License-Identifier: Apache-2.0
// How names are kept apart. All are cut at the usual place first; often that is enough. Where some look alike then,
// names that begin alike are a family. What all of a family begin and end with is cut, and what is between stays whole
// where it has room. Where it has none, another place of one cut is looked for, the nearest to the usual one; and where
// no single cut keeps the family apart, what is between is cut by the same rules. Every look keeps a few columns of the
// beginning, so that families stay apart too.
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
constexpr std::size_t kLeastRest = 8;  // columns that a rest needs to be of use
// Bytes of names for which other places of a cut are tried (a hundred times and more), and for which
// common beginnings are cut (a dozen times). What strangers call their tensors must not cost minutes.
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

// With `mark` in the place of what is missing, `head` columns before it.
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

// How many bytes all begin or, reversed, end with; no character is divided.
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

// The single cut that keeps most names apart, the nearest to the usual one.
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

// What names that differ all begin and end with, and what is between.
struct Parted {
  std::string start, end;
  Names between;
  std::size_t widest = 0;  // columns, of what is between
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
  // An ellipsis is not put for a single column.
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

// Of names that begin alike.
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

// Of names that differ. Those that have room stay.
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
