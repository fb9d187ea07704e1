// SPDX-License-Identifier: Apache-2.0
#include "cli/table.h"

#include <algorithm>

#include "base/text.h"

namespace mu {
namespace {

constexpr std::size_t kGap = 2;
constexpr std::size_t kNarrowest = 16;  // columns that a shortened cell keeps

}  // namespace

std::string Table::text(std::size_t indent, std::size_t width) const {
  std::vector<std::size_t> widths(alignment_.size(), 0);
  for (const std::vector<std::string>& cells : rows_) {
    for (std::size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], display_width(cells[i]));
  }
  std::size_t total = indent;
  for (const std::size_t column : widths) total += column + kGap;
  total -= std::min(total, kGap);
  if (width > 0 && total > width && !widths.empty()) {
    const std::size_t spare = widths[0] > kNarrowest ? widths[0] - kNarrowest : 0;
    widths[0] -= std::min(total - width, spare);
  }
  std::string out;
  for (const std::vector<std::string>& cells : rows_) {
    std::string line(indent, ' ');
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const std::string cell = i == 0 ? shorten(cells[i], widths[0]) : cells[i];
      const std::string padding(widths[i] - std::min(widths[i], display_width(cell)), ' ');
      if (i > 0) line.append(kGap, ' ');
      line += alignment_[i] == 'r' ? padding + cell : cell + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
  return out;
}

}  // namespace mu
