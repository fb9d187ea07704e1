// SPDX-License-Identifier: Apache-2.0
#include "cli/app.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/run.h"
#include "os/threads.h"

namespace mu {
namespace {

constexpr std::size_t kHelpColumn = 30;

// "-j,--threads" and "N" -> "  -j, --threads N".
std::string left_side(const CLI::Option& option) {
  std::string names = option.get_snames().empty() ? "    " : "-" + option.get_snames().front() + ", ";
  if (option.get_lnames().empty()) names.resize(2);
  for (const std::string& name : option.get_lnames()) {
    if (&name != &option.get_lnames().front()) names += ", ";
    names += "--" + name;
  }
  const std::string value = option.get_option_text();
  if (value.empty()) return "  " + names;
  return "  " + names + (value.starts_with("[=") ? "" : " ") + value;
}

}  // namespace

unsigned CommonOptions::thread_count() const {
  return threads == 0 ? default_thread_count() : threads;
}

bool CommonOptions::show_progress() const {
  return progress || (!no_progress && !console().quiet && err_is_terminal());
}

App::App(const ProgramText& text) : text_(text), app_(std::make_unique<CLI::App>(std::string(text.summary))) {
  app_->set_help_flag();
  app_->allow_extras(false);
}

CLI::Option* App::finish(CLI::Option* option) {
  if (std::find(groups_.begin(), groups_.end(), group_) == groups_.end()) groups_.push_back(group_);
  return option->group(group_);
}

void App::flag(const std::string& names, bool& target, const std::string& help) {
  finish(app_->add_flag(names, target, help))->take_last();
}

void App::optional_value(const std::string& names, const std::string& value_name, const std::string& fallback,
                         std::optional<std::string>& target, const std::string& help) {
  std::string& stored = stored_.emplace_back();
  CLI::Option* const option = finish(app_->add_flag(names + "{" + fallback + "}", stored, help));
  option->option_text("[=" + value_name + "]")->take_last();
  after_parse_.push_back([option, &stored, &target] {
    if (option->count() > 0) target = stored;
  });
}

void App::value(const std::string& names, const std::string& value_name, std::optional<std::string>& target,
                const std::string& help) {
  finish(app_->add_option_function<std::string>(
             names, [&target](const std::string& value) { target = value; }, help))
      ->option_text(value_name)
      ->take_last();
}

void App::list(const std::string& names, const std::string& value_name, std::vector<std::string>& target,
               const std::string& help) {
  finish(app_->add_option(names, target, help))->option_text(value_name)->allow_extra_args(false);
}

void App::operands(std::vector<std::string>& target) {
  app_->add_option("operands", target)->group("");
}

void App::common(CommonOptions& options, std::string_view which) {
  common_ = &options;
  group("Common");
  const auto has = [which](char letter) { return which.find(letter) != std::string_view::npos; };
  if (has('n')) flag("-n,--dry-run", options.dry_run, "print the plan and change nothing");
  if (has('j')) flag("--json", options.json, "print one JSON document");
  if (has('0')) flag("-0,--null", options.null, "names end with NUL, unescaped");
  if (has('t')) {
    finish(app_->add_option("-j,--threads", threads_, "threads (default: all)"))
        ->option_text("N")
        ->take_last();
  }
  if (has('p')) {
    flag("--progress", options.progress, "show progress though stderr is no terminal");
    flag("--no-progress", options.no_progress, "never show progress");
  }
  finish(app_->add_option("--color", color_, "auto, always or never"))->option_text("WHEN")->take_last();
  flag("-q,--quiet", console().quiet, "errors only");
  finish(app_->add_flag("-v,--verbose", console().verbose, "say more"));
  flag("-h,--help", help_, "print this");
  flag("--version", version_, "print the version");
}

void App::parse(int argc, char** argv) {
  try {
    app_->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    throw usage(error.what()).hint(fmt::format("see {} --help", text_.name));
  }
  for (const std::function<void()>& step : after_parse_) step();
  if (help_) {
    out(help());
    throw ExitNow{0};
  }
  if (version_) {
    out(fmt::format("{} {}\n", text_.name, MU_VERSION));
    throw ExitNow{0};
  }
  if (color_ == "always") console().color = ColorMode::kAlways;
  if (color_ == "never") console().color = ColorMode::kNever;
  if (!color_.empty() && color_ != "always" && color_ != "never" && color_ != "auto") {
    throw usage("--color takes auto, always or never, not '" + escape_name(color_) + "'");
  }
  if (!threads_.empty()) {
    unsigned count = 0;
    const std::from_chars_result parsed =
        std::from_chars(threads_.data(), threads_.data() + threads_.size(), count);
    if (parsed.ec != std::errc() || parsed.ptr != threads_.data() + threads_.size() || count == 0 ||
        count > 1024) {
      throw usage("--threads takes a number from 1 to 1024, not '" + escape_name(threads_) + "'");
    }
    common_->threads = count;
  }
}

std::string App::help() const {
  std::string text = fmt::format("Usage: {} [OPTIONS] {}\n{}\n", text_.name, text_.operands, text_.summary);
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
      text += left + option->get_description() + "\n";
    }
  }
  return text + fmt::format("\nExample: {}\nSee {}(1) and modelutils(7).\n", text_.example, text_.name);
}

}  // namespace mu
