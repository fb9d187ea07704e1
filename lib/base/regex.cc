// SPDX-License-Identifier: Apache-2.0
// PCRE2 calls us back before every item that it tries (AUTO_CALLOUT), and so we count steps: its own limits hold for
// one call, and don't say how much was used. Between two calls it passes over the text once at most, by a run of one
// kind of characters, so that a step is charged by the length of the text and the size of the sets.
#include "base/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <mutex>

#include "base/error.h"
#include "base/regex_syntax.h"
#include "base/text.h"

namespace mu {
namespace {

constexpr std::size_t kMaxPattern = 20'000;  // bytes
constexpr std::size_t kMaxText = 20'000;
constexpr std::uint32_t kHeapKib = 32U << 10;  // of one match
constexpr std::uint32_t kMaxNesting = 1000;    // ours are checked by the translation
// Prices in steps of about 10 ns.
constexpr std::uint64_t kCompileSteps = 800;  // and more by length
constexpr std::uint64_t kCallSteps = 60;
constexpr std::uint64_t kItemSteps = 10;

template <auto release>
struct Release {
  template <typename T>
  void operator()(T* p) const {
    release(p);
  }
};
using Code = std::unique_ptr<pcre2_code, Release<pcre2_code_free>>;
using CompileContext = std::unique_ptr<pcre2_compile_context, Release<pcre2_compile_context_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Release<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Release<pcre2_match_data_free>>;

struct Meter {
  std::uint64_t left, price;
};

int count_step(pcre2_callout_block* /*block*/, void* data) {
  Meter& meter = *static_cast<Meter*>(data);
  if (meter.left < meter.price) return PCRE2_ERROR_CALLOUT;
  meter.left -= meter.price;
  return 0;
}

std::string message_of(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

}  // namespace

bool RegexBudget::spend(std::uint64_t steps) {
  std::uint64_t left = left_;
  while (!left_.compare_exchange_weak(left, left >= steps ? left - steps : 0)) {
  }
  return left >= steps;
}

struct Regex::State {
  std::string pattern, name;
  RegexSyntax syntax;
  Code code;
  // Not std::call_once: an exception can't leave it in a program that has its own copy of the unwinder.
  std::mutex mutex;
  bool is_translated = false;

  [[nodiscard]] Error fault(std::string_view what) const {
    return malformed(fmt::format("the pattern '{}' can't be used: {}", shorten(escape_name(name), 80), what));
  }
  [[nodiscard]] Error spent() const {
    return malformed(fmt::format("the pattern '{}' takes too long to match", shorten(escape_name(name), 80)));
  }
  void translate();
  void compile(RegexBudget& budget);
  std::optional<RegexMatch> match(std::string_view text, RegexBudget& budget, std::uint32_t options);
};

void Regex::State::translate() {
  if (is_translated) return;
  if (pattern.size() > kMaxPattern) throw fault("it is too long");
  try {
    syntax = translate_regex(pattern);
  } catch (const Error& error) {
    throw fault(error.message());
  }
  is_translated = true;
}

void Regex::State::compile(RegexBudget& budget) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (code) return;
  if (!budget.spend(kCompileSteps + pattern.size() * 10)) throw spent();
  translate();
  const CompileContext context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), kMaxNesting);
  int code_of_error = 0;
  std::size_t offset = 0;
  // Without its look ahead for what a text must contain, which is wrong in 10.42: "(?=a)b*a" does not find "a".
  code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(syntax.text.data()), syntax.text.size(),
                           PCRE2_UTF | PCRE2_UCP | PCRE2_ALT_CIRCUMFLEX | PCRE2_AUTO_CALLOUT |
                               PCRE2_NO_START_OPTIMIZE | PCRE2_NEVER_BACKSLASH_C,
                           &code_of_error, &offset, context.get()));
  if (!code) throw fault(message_of(code_of_error));
}

std::optional<RegexMatch> Regex::State::match(std::string_view text, RegexBudget& budget,
                                              std::uint32_t options) {
  compile(budget);
  if (text.size() > kMaxText) throw fault("a name to match is too long");
  if (syntax.ignores_case && std::any_of(text.begin(), text.end(), [](char c) { return (c & 0x80) != 0; }))
    throw fault(fmt::format("it ignores case, and '{}' is not ASCII", shorten(escape_name(text), 80)));
  if (!budget.spend(kCallSteps + text.size() / 16)) throw spent();

  const MatchContext context(pcre2_match_context_create(nullptr));
  const MatchData data(pcre2_match_data_create_from_pattern(code.get(), nullptr));
  if (!context || !data) throw std::bad_alloc();
  const std::uint64_t left = budget.left();
  Meter meter{left, kItemSteps + text.size() * (1 + syntax.largest_set / 4) / 16};
  pcre2_set_callout(context.get(), count_step, &meter);
  pcre2_set_heap_limit(context.get(), kHeapKib);
  const int count = pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0,
                                options, data.get(), context.get());
  const bool is_over = count == PCRE2_ERROR_CALLOUT || count == PCRE2_ERROR_MATCHLIMIT;
  if (!budget.spend(is_over ? left : left - meter.left) || is_over) throw spent();
  if (count == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (count < 0) throw fault(message_of(count));

  const std::size_t* ends = pcre2_get_ovector_pointer(data.get());
  RegexMatch found{ends[0], ends[1], {}};
  found.groups.resize(pcre2_get_ovector_count(data.get()) - 1);
  for (std::size_t i = 1; i < static_cast<std::size_t>(count); ++i) {
    if (ends[2 * i] != PCRE2_UNSET)
      found.groups[i - 1] = text.substr(ends[2 * i], ends[2 * i + 1] - ends[2 * i]);
  }
  return found;
}

Regex::Regex(std::string pattern, std::string name) : state_(std::make_shared<State>()) {
  state_->name = name.empty() ? pattern : std::move(name);
  state_->pattern = std::move(pattern);
}

void Regex::check() const {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->translate();
}

const std::string& Regex::pattern() const {
  return state_->pattern;
}

bool Regex::matches_all(std::string_view text, RegexBudget& budget) const {
  return state_->match(text, budget, PCRE2_ANCHORED | PCRE2_ENDANCHORED).has_value();
}

std::optional<RegexMatch> Regex::match_start(std::string_view text, RegexBudget& budget) const {
  return state_->match(text, budget, PCRE2_ANCHORED);
}

std::optional<RegexMatch> Regex::search(std::string_view text, RegexBudget& budget) const {
  return state_->match(text, budget, 0);
}

std::optional<std::size_t> Regex::group_index(const std::string& name) const {
  const auto found = state_->syntax.groups.find(name);
  if (found == state_->syntax.groups.end()) return std::nullopt;
  return found->second - 1;
}

}  // namespace mu
