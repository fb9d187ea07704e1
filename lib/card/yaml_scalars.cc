// SPDX-License-Identifier: Apache-2.0
#include "card/yaml_scalars.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"

namespace mu {
namespace {

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

// The numbers of js-yaml's default schema: decimal, 0x, 0o, 0b; floats with a dot or an exponent; .inf and
// .nan.
bool is_number(std::string_view text) {
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) text.remove_prefix(1);
  if (is_one_of(text, {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"})) return true;
  for (const auto& [start, digits] : std::initializer_list<std::pair<std::string_view, std::string_view>>{
           {"0x", "0123456789abcdefABCDEF"}, {"0o", "01234567"}, {"0b", "01"}}) {
    if (text.starts_with(start))
      return text.size() > 2 && text.find_first_not_of(digits, 2) == std::string_view::npos;
  }
  const std::size_t exponent = text.find_first_of("eE");
  if (exponent != std::string_view::npos) {
    // js-yaml reads a number beyond the range of doubles as text.
    if (std::isinf(std::strtod(std::string(text).c_str(), nullptr))) return false;
    std::string_view power = text.substr(exponent + 1);
    if (!power.empty() && (power.front() == '-' || power.front() == '+')) power.remove_prefix(1);
    if (!is_digits(power)) return false;
    text = text.substr(0, exponent);
  }
  const std::size_t dot = text.find('.');
  if (dot == std::string_view::npos) return is_digits(text);
  const std::string_view whole = text.substr(0, dot), fraction = text.substr(dot + 1);
  return (whole.empty() || is_digits(whole)) && (fraction.empty() || is_digits(fraction)) &&
         whole.size() + fraction.size() > 0;
}

// A date, or a date with a time: the same forms in both dialects.
struct Timestamp {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  int zone_minutes = 0;  // away from UTC, without the sign
};

class TimestampReader {
 public:
  explicit TimestampReader(std::string_view text) : rest_(text) {}

  std::optional<Timestamp> read() {
    const std::size_t size = rest_.size();
    Timestamp time;
    if (!number(4, 4, time.year) || !skip("-") || !number(1, 2, time.month) || !skip("-") ||
        !number(1, 2, time.day))
      return std::nullopt;
    if (rest_.empty()) return size == 10 ? std::optional(time) : std::nullopt;
    if (!skip("Tt") && !skip_blanks()) return std::nullopt;
    if (!number(1, 2, time.hour) || !skip(":") || !number(2, 2, time.minute) || !skip(":") ||
        !number(2, 2, time.second))
      return std::nullopt;
    if (skip(".")) rest_.remove_prefix(std::min(rest_.find_first_not_of("0123456789"), rest_.size()));
    if (rest_.empty()) return time;
    skip_blanks();
    int hours = 0, minutes = 0;
    if (!skip("Z") && (!skip("+-") || !number(1, 2, hours) || (skip(":") && !number(2, 2, minutes))))
      return std::nullopt;
    time.zone_minutes = 60 * hours + minutes;
    return rest_.empty() ? std::optional(time) : std::nullopt;
  }

 private:
  bool skip(std::string_view one_of) {
    const bool here = !rest_.empty() && one_of.find(rest_.front()) != std::string_view::npos;
    if (here) rest_.remove_prefix(1);
    return here;
  }
  bool skip_blanks() {
    const bool here = skip(" \t");
    while (skip(" \t")) continue;
    return here;
  }
  bool number(std::size_t fewest, std::size_t most, int& value) {
    const std::size_t digits = std::min({rest_.find_first_not_of("0123456789"), rest_.size(), most});
    for (const char c : rest_.substr(0, digits)) value = 10 * value + (c - '0');
    rest_.remove_prefix(digits);
    return digits >= fewest;
  }

  std::string_view rest_;
};

bool is_date(std::string_view text) {
  return TimestampReader(text).read().has_value();
}

// Digits and underscores, a digit first.
bool is_spaced_digits(std::string_view text) {
  return !text.empty() && text.front() >= '0' && text.front() <= '9' &&
         text.find_first_not_of("0123456789_") == std::string_view::npos;
}

// Base 60: 12:30, 1:30:00.5.
bool is_sexagesimal(std::string_view text) {
  std::vector<std::string_view> parts = split(text, ':');
  if (parts.size() < 2 || !is_spaced_digits(parts.front())) return false;
  if (const std::size_t dot = parts.back().find('.'); dot != std::string_view::npos) {
    if (parts.back().find_first_not_of("0123456789_", dot + 1) != std::string_view::npos) return false;
    parts.back() = parts.back().substr(0, dot);
  } else if (parts.front().front() == '0') {
    return false;  // "08:30"
  }
  return std::all_of(parts.begin() + 1, parts.end(), [](std::string_view part) {
    return is_digits(part) && (part.size() == 1 || (part.size() == 2 && part[0] <= '5'));
  });
}

// The numbers of YAML 1.1: underscores, octal with a leading 0, base 60; a float needs a dot, and a sign in
// its exponent.
bool is_python_number(std::string_view text) {
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) text.remove_prefix(1);
  if (is_one_of(text, {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"})) return true;
  if (text.starts_with("0x") && text.size() > 2)
    return text.find_first_not_of("0123456789abcdefABCDEF_", 2) == std::string_view::npos;
  if (text.starts_with("0b") && text.size() > 2)
    return text.find_first_not_of("01_", 2) == std::string_view::npos;
  if (is_sexagesimal(text)) return true;
  const std::size_t dot = text.find('.');
  if (dot == std::string_view::npos)
    return is_spaced_digits(text) &&
           (text.front() != '0' || text.find_first_of("89") == std::string_view::npos);
  const std::string_view whole = text.substr(0, dot);
  std::string_view part = text.substr(dot + 1);
  if (const std::size_t e = part.find_first_of("eE"); e != std::string_view::npos) {
    const std::string_view power = part.substr(e + 1);
    if (power.empty() || (power.front() != '-' && power.front() != '+') || !is_digits(power.substr(1)))
      return false;
    part = part.substr(0, e);
  }
  return (whole.empty() || is_spaced_digits(whole)) &&
         part.find_first_not_of("0123456789_") == std::string_view::npos &&
         (!whole.empty() || is_spaced_digits(part));
}

}  // namespace

YamlKind hub_kind(std::string_view plain) {
  using Kind = YamlKind;
  if (is_one_of(plain, {"", "~", "null", "Null", "NULL"})) return Kind::kNull;
  if (is_one_of(plain, {"true", "True", "TRUE", "false", "False", "FALSE"})) return Kind::kBool;
  if (is_number(plain)) return Kind::kNumber;
  return is_date(plain) ? Kind::kDate : Kind::kString;
}

YamlKind python_kind(std::string_view plain) {
  using Kind = YamlKind;
  if (is_one_of(plain, {"", "~", "null", "Null", "NULL"})) return Kind::kNull;
  for (const std::string_view word : {"true", "false", "yes", "no", "on", "off"}) {
    std::string title(word), upper(word);
    title[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(title[0])));
    for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    if (is_one_of(plain, {word, title, upper})) return Kind::kBool;
  }
  if (is_python_number(plain)) return Kind::kNumber;
  return is_date(plain) ? Kind::kDate : Kind::kString;
}

std::string_view python_misses(std::string_view plain) {
  if (plain == "=" || plain == "<<") return "text";
  const std::string_view digits = plain.substr(plain.starts_with('-') || plain.starts_with('+') ? 1 : 0);
  if ((digits.starts_with("0x_") || digits.starts_with("0b_")) &&
      digits.find_first_not_of('_', 2) == std::string_view::npos)
    return "a number";
  const std::optional<Timestamp> time = TimestampReader(plain).read();
  if (!time) return "";
  const std::chrono::year_month_day day(std::chrono::year(time->year),
                                        std::chrono::month(static_cast<unsigned>(time->month)),
                                        std::chrono::day(static_cast<unsigned>(time->day)));
  if (!day.ok() || time->year == 0) return "a day";
  const bool sound =
      time->hour < 24 && time->minute < 60 && time->second < 60 && time->zone_minutes < 24 * 60;
  return sound ? "" : "a time";
}

}  // namespace mu
