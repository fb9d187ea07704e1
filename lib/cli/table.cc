// SPDX-License-Identifier: Apache-2.0
#include "cli/table.h"

#include <algorithm>

#include "base/text.h"

namespace mu {
namespace {

constexpr std::size_t kGap = 2;
constexpr std::size_t kNarrowestFirst = 16, kNarrowestLast = 24;  // columns that narrowed cells keep

// Takes up to `over` columns from a cell, down to `narrowest`. What is over still.
std::size_t narrow(std::size_t& width, std::size_t narrowest, std::size_t over) {
  const std::size_t taken = std::min(over, width > narrowest ? width - narrowest : 0);
  width -= taken;
  return over - taken;
}

}  // namespace

std::string Table::text(std::size_t indent, std::size_t width) const {
  std::vector<std::size_t> widths(alignment_.size(), 0);
  for (const std::vector<std::string>& cells : rows_) {
    for (std::size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], display_width(cells[i]));
  }
  std::size_t total = indent;
  for (const std::size_t column : widths) total += column + kGap;
  total -= std::min(total, kGap);
  const std::size_t last = widths.empty() ? 0 : widths.size() - 1;
  const bool wraps = last > 0 && alignment_[last] == 'l';
  if (width > 0 && total > width) {
    std::size_t over = total - width;
    if (wraps) over = narrow(widths[last], kNarrowestLast, over);
    if (!widths.empty()) narrow(widths[0], kNarrowestFirst, over);
  }
  std::string out;
  for (const std::vector<std::string>& cells : rows_) {
    std::string line(indent, ' ');
    for (std::size_t i = 0; i < cells.size(); ++i) {
      if (i > 0) line.append(kGap, ' ');
      const std::size_t at = display_width(line);
      const std::string cell = i == 0               ? shorten_middle(cells[i], widths[i])
                               : i == last && wraps ? wrap(cells[i], at + widths[i], at)
                                                    : cells[i];
      const std::string padding(widths[i] - std::min(widths[i], display_width(cell)), ' ');
      line += alignment_[i] == 'r' ? padding + cell : cell + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
  return out;
}

}  // namespace mu
