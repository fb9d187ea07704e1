// SPDX-License-Identifier: Apache-2.0
#include "base/natural.h"

#include <algorithm>

namespace mu {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Less than, equal to or greater than zero.
int compare_numbers(std::string_view a, std::string_view b) {
  a.remove_prefix(std::min(a.find_first_not_of('0'), a.size()));
  b.remove_prefix(std::min(b.find_first_not_of('0'), b.size()));
  if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
  return a.compare(b);
}

// A component: its text, then the digits at its end. Without text it is a number.
struct Component {
  std::string_view text, digits;
};

Component component_of(std::string_view name, std::size_t begin) {
  const std::string_view whole = name.substr(begin, name.find('.', begin) - begin);
  std::size_t end = whole.size();
  while (end > 0 && is_digit(whole[end - 1])) --end;
  return {whole.substr(0, end), whole.substr(end)};
}

int compare(const Component& a, const Component& b) {
  const bool a_number = a.text.empty() && !a.digits.empty(), b_number = b.text.empty() && !b.digits.empty();
  if (a_number != b_number) return a_number ? -1 : 1;
  if (const int texts = a.text.compare(b.text); texts != 0) return texts;
  if (a.digits.empty() || b.digits.empty())
    return static_cast<int>(b.digits.empty()) - static_cast<int>(a.digits.empty());
  return compare_numbers(a.digits, b.digits);
}

}  // namespace

bool natural_less(std::string_view a, std::string_view b) {
  // What both begin with is equal; whole components of it are passed over.
  const std::size_t most = std::min(a.size(), b.size());
  std::size_t at = 0;
  while (at < most && a[at] == b[at]) ++at;
  if (at == a.size() && at == b.size()) return false;
  while (at > 0 && a[at - 1] != '.') --at;
  std::size_t left = at, right = at;
  while (left <= a.size() && right <= b.size()) {
    const Component one = component_of(a, left), other = component_of(b, right);
    if (const int order = compare(one, other); order != 0) return order < 0;
    left += one.text.size() + one.digits.size() + 1;
    right += other.text.size() + other.digits.size() + 1;
  }
  return left > a.size() && right <= b.size();
}

}  // namespace mu
