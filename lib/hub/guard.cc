// SPDX-License-Identifier: Apache-2.0
#include "hub/guard.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/sizes.h"
#include "base/text.h"
#include "os/threads.h"

namespace mu {

const std::vector<GuardRule>& guard_rules() {
  // In the order of Rule.
  static const std::vector<GuardRule> rules = {
      {"secret", true, "an access token"},
      {"private-key", true, "a private key, or a file that usually holds secrets"},
      {"link", true, "a link to a text file outside the folder"},
      {"ignored", true, "weights, config or tokenizer that .gitignore or the hub leaves out"},
      {"pickle", true, "a pickle that runs code when it is loaded"},
      {"name", true, "a name that the Hub or its downloaders refuse"},
      {"lfs-pointer", true, "a Git LFS pointer in place of the file"},
      {"torn", true,
       "weights that are cut short or malformed, shards that are missing, links that lead nowhere"},
      {"large-file", true, "a file of more than 500 GB"},
      {"large-regular", true, "a file of more than 10 MiB that the hub keeps in git"},
      {"folder-size", true, "more than 10,000 entries in a folder"},
      {"case", false, "names that other systems can't tell apart"},
      {"portable", false, "a name that Windows does not allow"},
      {"config", false, "weights without a config"},
      {"tokenizer", false, "weights without a tokenizer or processor"},
  };
  return rules;
}

GuardFinding against(Rule rule, std::string file, std::string message) {
  return {&guard_rules()[static_cast<std::size_t>(rule)], std::move(file), std::move(message)};
}

std::vector<GuardFinding> guard_files(const FileChoice& choice, bool is_model, unsigned jobs,
                                      HashCache& cache,
                                      const std::function<void(const std::string&)>& detail) {
  // Headers of weights may take memory: large files are checked one by one.
  constexpr std::uint64_t kSmall = 256U << 10;  // bytes
  std::vector<std::vector<GuardFinding>> found(choice.files.size() + 1);
  std::vector<std::size_t> small, large;
  for (std::size_t i = 0; i < choice.files.size(); ++i)
    (choice.files[i].stamp.size <= kSmall ? small : large).push_back(i);
  const auto look_at = [&](std::size_t i) { found[i] = guard_file(choice.files[i], cache, detail); };
  parallel_for(small.size(), jobs, [&](std::size_t i) { look_at(small[i]); });
  for (const std::size_t i : large) look_at(i);
  found.back() = guard_names(choice, is_model);
  std::vector<GuardFinding> findings;
  for (std::vector<GuardFinding>& each : found)
    std::move(each.begin(), each.end(), std::back_inserter(findings));
  return findings;
}

GuardFinding too_large_for_git(const std::string& file, std::uint64_t size) {
  return against(
      Rule::kRegular, file,
      fmt::format("{}, but the hub keeps it in git, which takes at most 10 MiB", format_size(size)));
}

namespace {

// What to do about a finding that stops a push. Weights are only left out as the last resort.
std::string_view advice_for(const GuardRule& rule) {
  switch (static_cast<Rule>(&rule - guard_rules().data())) {
    case Rule::kIgnored:
      return "remove the line from .gitignore, or --exclude it";
    case Rule::kPickle:
      return "publish its tensors as st-pack --salvage writes them, leave it out with --exclude";
    case Rule::kPointer:
      return "fetch the file itself with git lfs pull, leave it out with --exclude";
    case Rule::kTorn:
      return "save or fetch it again, leave it out with --exclude";
    default:
      return "leave it out with --exclude";
  }
}

}  // namespace

void enforce_guard(const std::vector<GuardFinding>& findings, const std::vector<std::string>& allowed,
                   const std::function<void(const std::string&)>& warning) {
  constexpr std::size_t kShown = 20;
  const auto text_of = [](const GuardFinding& finding) {
    const std::string where = finding.file.empty() ? "" : escape_name(finding.file) + ": ";
    return fmt::format("{}{} [{}]", where, finding.message, finding.rule->id);
  };
  std::vector<const GuardFinding*> stops;
  for (const GuardFinding& finding : findings) {
    if (finding.rule->stops && std::find(allowed.begin(), allowed.end(), finding.rule->id) == allowed.end()) {
      stops.push_back(&finding);
    } else {
      warning(text_of(finding));
    }
  }
  if (stops.empty()) return;
  for (std::size_t i = 1; i < stops.size() && i < kShown; ++i) warning(text_of(*stops[i]));
  const std::string more = stops.size() > 1 ? fmt::format(", and {} more", stops.size() - 1) : "";
  FilesRefused refusal(ErrorKind::kRefused, text_of(*stops.front()) + more);
  refusal.hint(fmt::format("{}, or --allow {}", advice_for(*stops.front()->rule), stops.front()->rule->id));
  throw refusal;
}

}  // namespace mu
