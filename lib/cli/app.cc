// SPDX-License-Identifier: Apache-2.0
// CLI11 parses and this file decides what a command line means. CLI11's own rules for operands and optional
// values differ from what users of coreutils expect, so arguments are looked through first: options are
// checked and operands are taken out (take_operands), and only options with their values reach CLI11. Then
// --help and --version end the program, and the common options take effect.
//
// Help is laid out here, too, in lines of at most 80 columns.
#include "cli/app.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <utility>

#include "base/duration.h"
#include "base/error.h"
#include "base/nearest.h"
#include "base/sizes.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/run.h"
#include "os/threads.h"

namespace mu {
namespace {

constexpr std::size_t kHelpColumn = 30;
constexpr std::size_t kHelpWidth = 80;
constexpr unsigned kMostThreads = 1024;
constexpr unsigned kMostConnections = 64;

// "-j,--threads" and "N" -> "  -j, --threads N".
std::string left_side(const CLI::Option& option) {
  std::string names = option.get_snames().empty() ? "    " : "-" + option.get_snames().front() + ", ";
  if (option.get_lnames().empty()) names.resize(2);
  for (const std::string& name : option.get_lnames()) {
    if (&name != &option.get_lnames().front()) names += ", ";
    names += "--" + name;
  }
  const std::string& value = option.get_option_text();
  if (value.empty()) return "  " + names;
  return "  " + names + (value.starts_with("[=") ? "" : " ") + value;
}

std::optional<ColorMode> parse_color(std::string_view text) {
  if (text == "auto") return ColorMode::kAuto;
  if (text == "always") return ColorMode::kAlways;
  if (text == "never") return ColorMode::kNever;
  return std::nullopt;
}

// A whole number from 1 to `most`.
unsigned parse_count(const std::string& text, std::string_view option, unsigned most) {
  const char* const end = text.data() + text.size();
  unsigned count = 0;
  const std::from_chars_result parsed = std::from_chars(text.data(), end, count);
  if (parsed.ec != std::errc() || parsed.ptr != end || count == 0 || count > most)
    throw usage(fmt::format("{} takes a number from 1 to {}, not '{}'", option, most, escape_name(text)));
  return count;
}

// Reads --color first, wherever it stands, so that messages about wrong options have their colours.
void take_color(int argc, const char* const* argv) {
  constexpr std::string_view kName = "--color";
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    std::string_view text = argv[i];
    if (!text.starts_with(kName)) continue;
    text.remove_prefix(kName.size());
    if (text.empty() && i + 1 < argc) {
      text = argv[++i];
    } else if (text.starts_with('=')) {
      text.remove_prefix(1);
    }
    if (const std::optional<ColorMode> mode = parse_color(text)) console().color = *mode;
  }
}

}  // namespace

std::uint64_t parse_rate(const std::string& text) {
  const std::uint64_t rate = parse_size(text);
  if (rate == 0) throw usage("--limit-rate must be more than 0");
  return rate;
}

unsigned CommonOptions::thread_count() const {
  return threads == 0 ? default_thread_count() : threads;
}

bool CommonOptions::show_progress() const {
  return progress.value_or(!console().quiet && err_is_terminal());
}

App::App(const ProgramText& text) : text_(text), app_(std::make_unique<CLI::App>(std::string(text.summary))) {
  app_->set_help_flag();
}

App::~App() = default;

CLI::Option* App::finish(CLI::Option* option, Takes takes, const Choices& choices) {
  if (std::find(groups_.begin(), groups_.end(), group_) == groups_.end()) groups_.push_back(group_);
  traits_.emplace(option, Traits{takes, choices});
  return option->group(group_);
}

void App::flag(const std::string& names, bool& target, const std::string& help) {
  finish(app_->add_flag(names, target, help), Takes::kNothing)->take_last();
}

void App::optional_value(const std::string& names, const std::string& value_name, const std::string& fallback,
                         std::optional<std::string>& target, const std::string& help,
                         const Choices& choices) {
  std::string& stored = stored_.emplace_back();
  CLI::Option* const option =
      finish(app_->add_flag(names + "{" + fallback + "}", stored, help), Takes::kMaybeAfterEquals, choices);
  option->option_text("[=" + value_name + "]")->take_last();
  after_parse_.push_back([option, &stored, &target] {
    if (option->count() > 0) target = stored;
  });
  require_choice(option, target);
}

// Values are taken as CLI11 split them, without its conversions, which read "{}" as an empty list and "[a,b]"
// as two values.
void App::value(const std::string& names, const std::string& value_name, std::optional<std::string>& target,
                const std::string& help, const Choices& choices) {
  const auto keep = [&target](const CLI::results_t& values) {
    target = values.back();
    return true;
  };
  CLI::Option* const option =
      finish(app_->add_option(names, CLI::callback_t(keep), help), Takes::kValue, choices);
  option->option_text(value_name)->take_last();
  require_choice(option, target);
}

// After parsing, whether the value came from the command line or the file of --config.
void App::require_choice(const CLI::Option* option, const std::optional<std::string>& target) {
  if (traits_.at(option).choices.empty()) return;
  after_parse_.push_back([this, option, &target] {
    const Choices& choices = traits_.at(option).choices;
    if (!target || std::find(choices.begin(), choices.end(), *target) != choices.end()) return;
    std::vector<std::string> names(choices.begin(), choices.end());
    const std::string last = std::move(names.back());
    names.pop_back();
    throw usage(fmt::format("--{} takes {} or {}, not '{}'", option->get_lnames().front(), join(names, ", "),
                            last, escape_name(*target)));
  });
}

void App::list(const std::string& names, const std::string& value_name, std::vector<std::string>& target,
               const std::string& help) {
  const auto keep = [&target](const CLI::results_t& values) {
    target = values;
    return true;
  };
  finish(app_->add_option(names, CLI::callback_t(keep), help), Takes::kValue)
      ->option_text(value_name)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void App::operands(std::vector<std::string>& target) {
  operands_ = &target;
}

void App::config(const std::string& names, const std::string& value_name, const std::string& help) {
  app_->allow_config_extras(CLI::config_extras_mode::error);
  finish(app_->set_config(names, "", help), Takes::kValue)->option_text(value_name)->take_last();
}

void App::common(CommonOptions& options, std::string_view which, const std::string& threads_help) {
  common_ = &options;
  group("Common");
  const auto has = [which](char letter) { return which.find(letter) != std::string_view::npos; };
  if (has('n')) flag("-n,--dry-run", options.dry_run, "print the plan and change nothing");
  if (has('j')) flag("--json", options.json, "print one JSON document");
  if (has('0')) flag("-0,--null", options.null, "names end with NUL, unescaped");
  if (has('t')) value("-j,--threads", "N", threads_, threads_help);
  if (has('p')) {
    const auto keep = [&options](std::int64_t sum) { options.progress = sum > 0; };
    finish(app_->add_flag_function("--progress,!--no-progress", keep,
                                   "show progress or don't (default: on a terminal)"),
           Takes::kNothing)
        ->take_last();
  }
  value("--color", "WHEN", color_, "auto (default), always or never", {"auto", "always", "never"});
  flag("-q,--quiet", console().quiet, "errors only");
  finish(app_->add_flag("-v,--verbose", console().verbose, "print more"), Takes::kNothing);
  flag("-h,--help", help_, "print this help");
  flag("--version", version_,
       text_.libraries == nullptr ? "print the version"
                                  : "print the version, with -v that of libcurl as well");
}

void App::remote(RemoteOptions& options) {
  remote_ = &options;
  options.max_wait_s = 120;
  value("--max-wait", "TIME", max_wait_, "wait at most TIME for a failing hub (120s)");
  value("--limit-rate", "SIZE", limit_rate_, "receive at most SIZE a second");
  value("--connections", "N", connections_, "requests at once (default: 4 to 16)");
}

// The long option nearest to what was written.
std::optional<std::string> App::nearest(std::string_view written) const {
  std::vector<std::string> names;
  for (const CLI::Option* each : std::as_const(*app_).get_options()) {
    for (const std::string& name : each->get_lnames()) names.push_back(name);
  }
  written.remove_prefix(std::min(written.find_first_not_of('-'), written.size()));
  return nearest_name(written, names);
}

// `written` is the argument that names it.
const CLI::Option* App::find(const std::string& name, std::string_view written) const {
  const CLI::Option* const option = app_->get_option_no_throw(name);
  if (option != nullptr) return option;
  Error error = usage("there is no option " + escape_name(name));
  if (const std::optional<std::string> meant = nearest(written)) error.hint("did you mean --" + *meant + "?");
  throw error;
}

// The error for a fault in the file of --config.
Error App::config_error(std::string_view what) const {
  constexpr std::string_view kUnknown = "INI was not able to parse ";  // CLI11's words
  if (!what.starts_with(kUnknown)) return usage(escape_name(what));
  const std::string_view name = what.substr(kUnknown.size());
  Error error = usage(fmt::format("the file of --config: there is no option '{}'", escape_name(name)));
  if (const std::optional<std::string> meant = nearest(name)) error.hint("did you mean " + *meant + "?");
  return error;
}

// Both return whether the next argument belongs to the option.
bool App::check_long(std::string_view argument) const {
  const std::size_t equals = argument.find('=');
  const std::string name(argument.substr(0, equals));
  const Takes takes = traits_.at(find(name, name)).takes;
  if (equals == std::string_view::npos) return takes == Takes::kValue;
  if (takes == Takes::kNothing) throw usage(name + " takes no value");
  if (equals + 1 == argument.size()) throw usage(name + "= needs a value");
  return false;
}

bool App::check_short(std::string_view argument) const {
  for (std::size_t i = 1; i < argument.size(); ++i) {
    const CLI::Option* const option = find(std::string("-") + argument[i], argument);
    if (traits_.at(option).takes == Takes::kValue) return i + 1 == argument.size();
  }
  return false;
}

// Takes the operands out and returns the rest for CLI11. Left to it, CLI11 would split an operand "[a,b]" in
// two, drop "{}", take "-5" and "---x" as operands, and the next argument as the value of "--name=".
std::vector<std::string> App::take_operands(int argc, const char* const* argv) {
  std::vector<std::string> options, operands;
  bool only_operands = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (only_operands || argument.size() < 2 || argument.front() != '-') {
      operands.emplace_back(argument);
    } else if (argument == "--") {
      only_operands = true;
    } else {
      options.emplace_back(argument);
      const bool takes_next = argument.starts_with("--") ? check_long(argument) : check_short(argument);
      if (!takes_next) continue;
      if (++i == argc) throw usage(std::string(argument) + " needs a value");
      options.emplace_back(argv[i]);
    }
  }
  if (operands_ == nullptr && !operands.empty())
    throw usage("takes no operand '" + escape_name(operands[0]) + "'");
  if (operands_ != nullptr) *operands_ = std::move(operands);
  return options;
}

void App::parse(int argc, const char* const* argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--dump-options") {
    out(options_json());
    throw ExitNow{0};
  }
  console().command.assign(argv, argv + argc);
  take_color(argc, argv);
  try {
    std::vector<std::string> options = take_operands(argc, argv);
    std::reverse(options.begin(), options.end());  // CLI11 takes them from the back
    app_->parse(std::move(options));
  } catch (Error& error) {
    throw error.hint(fmt::format("see {} --help", text_.name));
  } catch (const CLI::FileError& error) {
    throw Error(ErrorKind::kIo, escape_name(error.what()));
  } catch (const CLI::ConfigError& error) {
    throw config_error(error.what()).hint(fmt::format("see {} --help", text_.name));
  } catch (const CLI::ParseError& error) {
    throw usage(escape_name(error.what())).hint(fmt::format("see {} --help", text_.name));
  }
  if (help_) {
    out(help());
    throw ExitNow{0};
  }
  if (version_) {
    out(fmt::format("{} {}\n", text_.name, MU_VERSION));
    if (console().verbose > 0 && text_.libraries != nullptr) out(text_.libraries());
    throw ExitNow{0};
  }
  for (const std::function<void()>& step : after_parse_) step();
  apply_common();
  apply_remote();
}

void App::apply_common() {
  if (color_) console().color = parse_color(*color_).value_or(ColorMode::kAuto);
  if (threads_) common_->threads = parse_count(*threads_, "--threads", kMostThreads);
}

void App::apply_remote() {
  if (max_wait_) remote_->max_wait_s = parse_duration(*max_wait_);
  if (limit_rate_) remote_->limit_rate = parse_rate(*limit_rate_);
  if (connections_) remote_->connections = parse_count(*connections_, "--connections", kMostConnections);
}

std::string App::help() const {
  std::string text = fmt::format("Usage: {} [OPTIONS] {}\n", text_.name, text_.operands) +
                     wrap(text_.summary, kHelpWidth, 0) + "\n";
  for (const std::string& group : groups_) {
    text += "\n" + group + ":\n";
    for (const CLI::Option* option :
         app_->get_options([&group](const CLI::Option* o) { return o->get_group() == group; })) {
      std::string left = left_side(*option);
      if (left.size() + 1 > kHelpColumn) {
        text += left + "\n";
        left.clear();
      }
      left.resize(kHelpColumn, ' ');
      text += left + wrap(option->get_description(), kHelpWidth, kHelpColumn) + "\n";
    }
  }
  return text + fmt::format("\nExample: {}\nSee {}(1) and modelutils(7).\n", text_.example, text_.name);
}

}  // namespace mu
