// SPDX-License-Identifier: Apache-2.0
#include "base/rename.h"

#include <fmt/format.h>
#include <regex.h>

#include <array>

#include "base/error.h"

namespace mu {
namespace {

constexpr std::size_t kGroups = 10;  // the whole match and \1 to \9

// Splits at delimiters that have no backslash before them.
std::vector<std::string_view> cut(std::string_view text, char delimiter) {
  std::vector<std::string_view> parts;
  std::size_t start = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == delimiter) {
      parts.push_back(text.substr(start, i - start));
      start = i + 1;
    }
  }
  parts.push_back(text.substr(start));
  return parts;
}

// "\/" means "/" where '/' is the delimiter.
std::string unguard(std::string_view text, char delimiter) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) {
      if (text[i + 1] != delimiter) out += '\\';
      ++i;
    }
    out += text[i];
  }
  return out;
}

}  // namespace

struct Rename::Regex {
  regex_t compiled{};
  Regex() = default;
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;
  ~Regex() { regfree(&compiled); }
};

Rename::Rename(std::string_view expression) : expression_(expression) {
  const auto wrong = [expression](std::string_view why) {
    return usage(fmt::format("'{}' is not a substitution such as s/old/new/: {}", expression, why));
  };
  if (expression.size() < 4 || expression[0] != 's') throw wrong("it does not start with s and a delimiter");
  const char delimiter = expression[1];
  if (delimiter == '\\' || delimiter == '\n') throw wrong("that delimiter can't be used");
  const std::vector<std::string_view> parts = cut(expression.substr(2), delimiter);
  if (parts.size() != 3) throw wrong("it needs three delimiters");
  if (parts[0].empty()) throw wrong("its pattern is empty");
  if (!parts[2].empty() && parts[2] != "g") throw wrong("the only flag is g");
  every_ = parts[2] == "g";
  auto regex = std::make_unique<Regex>();
  const int code = regcomp(&regex->compiled, unguard(parts[0], delimiter).c_str(), REG_EXTENDED);
  if (code != 0) {
    std::array<char, 200> reason{};
    regerror(code, &regex->compiled, reason.data(), reason.size());
    regex->compiled = {};
    throw wrong(reason.data());
  }
  parse_replacement(parts[1], delimiter);
  for (const Part& part : parts_) {
    if (part.group > static_cast<int>(regex->compiled.re_nsub))
      throw wrong(fmt::format("there is no group \\{}", part.group));
  }
  regex_ = std::move(regex);
}

void Rename::parse_replacement(std::string_view text, char delimiter) {
  parts_.emplace_back();
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool guarded = text[i] == '\\' && i + 1 < text.size();
    if (guarded) ++i;
    if (guarded && text[i] != delimiter && text[i] >= '0' && text[i] <= '9') {
      parts_.push_back({"", text[i] - '0'});
      parts_.emplace_back();
    } else if (!guarded && text[i] == '&') {
      parts_.push_back({"", 0});
      parts_.emplace_back();
    } else {
      parts_.back().text += text[i];
    }
  }
}

std::string Rename::apply(std::string_view name) const {
  const std::string subject(name);
  std::string out;
  std::size_t at = 0;
  std::size_t last_end = std::string::npos;
  while (at <= subject.size()) {
    std::array<regmatch_t, kGroups> groups{};
    const int flags = at == 0 ? 0 : REG_NOTBOL;
    if (regexec(&regex_->compiled, subject.c_str() + at, kGroups, groups.data(), flags) != 0) break;
    const auto group = [&](int i) {
      const regmatch_t& match = groups[static_cast<std::size_t>(i)];
      if (match.rm_so < 0) return std::string_view();
      return std::string_view(subject).substr(at + static_cast<std::size_t>(match.rm_so),
                                              static_cast<std::size_t>(match.rm_eo - match.rm_so));
    };
    const auto begin = static_cast<std::size_t>(groups[0].rm_so);
    const auto end = static_cast<std::size_t>(groups[0].rm_eo);
    out.append(subject, at, begin);
    // As in sed, an empty match right behind a match does not count.
    if (begin != end || at + begin != last_end) {
      for (const Part& part : parts_) out += part.group < 0 ? std::string_view(part.text) : group(part.group);
    }
    last_end = at + end;
    at += end;
    if (begin == end) {  // an empty match: step over one character
      if (at < subject.size()) out += subject[at];
      ++at;
    }
    if (!every_) break;
  }
  if (at < subject.size()) out.append(subject, at);
  return out;
}

bool Rename::matches(std::string_view name) const {
  return regexec(&regex_->compiled, std::string(name).c_str(), 0, nullptr, 0) == 0;
}

std::string rename_all(const std::vector<Rename>& rules, std::string_view name) {
  std::string out(name);
  for (const Rename& rule : rules) out = rule.apply(out);
  return out;
}

}  // namespace mu
