// SPDX-License-Identifier: Apache-2.0
#include "model/tables.h"

#include <string>

namespace mu {

std::string_view find_line(std::string_view table, std::string_view beginning) {
  std::string start = "\n";
  start += beginning;
  const std::size_t at = table.find(start);
  if (at == std::string_view::npos) return {};
  const std::string_view line = table.substr(at + 1);
  return line.substr(0, line.find('\n'));
}

}  // namespace mu
