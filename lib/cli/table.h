// SPDX-License-Identifier: Apache-2.0
// Aligned columns for people. Programs that are piped get TSV instead.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mu {

class Table {
 public:
  // One letter per column: 'l' left, 'r' right.
  explicit Table(std::string_view alignment) : alignment_(alignment) {}

  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  // Takes columns out, in this order, until lines fit into `width` columns (0: no limit) with a first column
  // of a useful width. Returns the numbers of the columns it took out.
  std::vector<std::size_t> leave_out(const std::vector<std::size_t>& order, std::size_t width);
  // Lines of `indent` blanks and cells two blanks apart, without blanks at the end. With `width` columns (0:
  // no limit) a left-aligned last column is wrapped where a line would be longer, then the first one is
  // shortened; cells that differ stay different.
  [[nodiscard]] std::string text(std::size_t indent, std::size_t width) const;

 private:
  [[nodiscard]] std::vector<std::size_t> widths() const;

  std::string alignment_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace mu
