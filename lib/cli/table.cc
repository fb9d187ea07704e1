// SPDX-License-Identifier: Apache-2.0
#include "cli/table.h"

#include <algorithm>
#include <numeric>

#include "base/apart.h"
#include "base/text.h"

namespace mu {
namespace {

constexpr std::size_t kGap = 2;
constexpr std::size_t kUsefulFirst = 24;  // columns in which names can be told apart at a glance
constexpr std::size_t kNarrowestFirst = 16, kNarrowestLast = 24;  // columns that narrowed cells keep

// Takes up to `over` columns from a cell, down to `narrowest`. Returns what is still over.
std::size_t narrow(std::size_t& width, std::size_t narrowest, std::size_t over) {
  const std::size_t taken = std::min(over, width > narrowest ? width - narrowest : 0);
  width -= taken;
  return over - taken;
}

// How wide a line with cells of these widths is.
std::size_t line_width(const std::vector<std::size_t>& widths, std::size_t indent) {
  const std::size_t gaps = widths.empty() ? 0 : (widths.size() - 1) * kGap;
  return std::accumulate(widths.begin(), widths.end(), indent + gaps);
}

}  // namespace

std::vector<std::size_t> Table::widths() const {
  std::vector<std::size_t> widths(alignment_.size(), 0);
  for (const std::vector<std::string>& cells : rows_) {
    for (std::size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], display_width(cells[i]));
  }
  return widths;
}

std::vector<std::size_t> Table::leave_out(const std::vector<std::size_t>& order, std::size_t width) {
  std::vector<std::size_t> columns = widths(), gone;
  if (columns.empty() || width == 0) return gone;
  columns[0] = std::min(columns[0], kUsefulFirst);
  if (alignment_.size() > 1 && alignment_.back() == 'l')
    columns.back() = std::min(columns.back(), kNarrowestLast);
  const auto rest_width = [&] { return line_width(columns, 0) - gone.size() * kGap; };
  for (const std::size_t column : order) {
    if (rest_width() <= width) break;
    columns[column] = 0;
    gone.push_back(column);
  }
  std::vector<std::size_t> from_last = gone;
  std::sort(from_last.rbegin(), from_last.rend());
  for (const std::size_t column : from_last) {
    alignment_.erase(column, 1);
    for (std::vector<std::string>& cells : rows_) {
      if (column < cells.size()) cells.erase(cells.begin() + static_cast<std::ptrdiff_t>(column));
    }
  }
  return gone;
}

std::string Table::text(std::size_t indent, std::size_t width) const {
  std::vector<std::size_t> widths = this->widths();
  const std::size_t total = line_width(widths, indent);
  const std::size_t last = widths.empty() ? 0 : widths.size() - 1;
  const bool wraps = last > 0 && alignment_[last] == 'l';
  if (width > 0 && total > width) {
    std::size_t over = total - width;
    if (wraps) over = narrow(widths[last], kNarrowestLast, over);
    if (!widths.empty()) narrow(widths[0], kNarrowestFirst, over);
  }
  std::vector<std::string> first;
  for (const std::vector<std::string>& cells : rows_) first.push_back(cells.empty() ? "" : cells[0]);
  if (!widths.empty()) first = shorten_apart(first, widths[0]);
  std::string out;
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    const std::vector<std::string>& cells = rows_[r];
    std::string line(indent, ' ');
    for (std::size_t i = 0; i < cells.size(); ++i) {
      if (i > 0) line.append(kGap, ' ');
      const std::size_t at = display_width(line);
      const std::string cell = i == 0               ? first[r]
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
