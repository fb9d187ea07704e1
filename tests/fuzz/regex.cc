// SPDX-License-Identifier: Apache-2.0
// A pattern in Python's syntax, and after a NUL the texts to match it with, one per line.
#include "base/regex.h"

#include "base/error.h"
#include "base/text.h"
#include "fuzz_file.h"

namespace {

void require(bool fact) {
  if (!fact) __builtin_trap();
}

void check_match(const mu::RegexMatch& match, std::string_view text) {
  require(match.begin <= match.end && match.end <= text.size());
  for (const std::optional<std::string_view>& group : match.groups)
    require(!group ||
            (group->data() >= text.data() && group->data() + group->size() <= text.data() + text.size()));
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input = mu::fuzzing::as_view(data, size);
  const std::size_t end = std::min(input.size(), input.find('\0'));
  const mu::Regex regex{std::string(input.substr(0, end))};
  mu::RegexBudget budget(2'000'000);
  try {
    regex.check();
    for (const std::string_view text : mu::split(input.substr(end), '\n')) {
      const bool whole = regex.matches_all(text, budget);
      const std::optional<mu::RegexMatch> start = regex.match_start(text, budget);
      const std::optional<mu::RegexMatch> found = regex.search(text, budget);
      require(!whole || start);
      require(!start || (found && found->begin == 0 && found->end == start->end));
      if (start) check_match(*start, text);
      if (found) check_match(*found, text);
    }
  } catch (const mu::Error& error) {
    require(error.kind() == mu::ErrorKind::kMalformed);
  }
  return 0;
}
