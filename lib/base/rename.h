// SPDX-License-Identifier: Apache-2.0
// sed's substitution for names: s/ERE/replacement/flags with POSIX extended regular expressions.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

// One rule. Any character may take the place of '/'; \1 to \9 and & stand for what matched; flag g
// replaces every match.
class Rename {
 public:
  // Throws kUsage for anything else.
  explicit Rename(std::string_view expression);

  [[nodiscard]] std::string apply(std::string_view name) const;
  [[nodiscard]] bool matches(std::string_view name) const;
  [[nodiscard]] const std::string& expression() const { return expression_; }

 private:
  struct Regex;
  // A piece of the replacement: text, or the number of a group.
  struct Part {
    std::string text;
    int group = -1;
  };
  void parse_replacement(std::string_view text, char delimiter);

  std::string expression_;
  std::shared_ptr<const Regex> regex_;
  std::vector<Part> parts_;
  bool every_ = false;
};

// The rules one after another.
std::string rename_all(const std::vector<Rename>& rules, std::string_view name);

}  // namespace mu
