// SPDX-License-Identifier: Apache-2.0
// Options as every program takes them, on CLI11. Long options are written in full. If a single-value option is
// repeated, the last one counts; a list option takes one value per use; an optional value follows '='.
// CLI11 itself stays out of this header: it takes seconds to compile, and programs need no more than this.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace mu {

struct ProgramText {
  std::string_view name;
  std::string_view summary;              // one line
  std::string_view operands;             // "PATH..."
  std::string_view example;              // one command
  std::string (*libraries)() = nullptr;  // lines that --version -v adds, about libraries found at run time
};

// Options that several programs have; each adds those that apply to it.
struct CommonOptions {
  bool json = false;
  bool null = false;
  bool dry_run = false;
  std::optional<bool> progress;  // nothing: where stderr is a terminal
  unsigned threads = 0;          // 0: one per processor

  [[nodiscard]] unsigned thread_count() const;
  [[nodiscard]] bool show_progress() const;
};

// How models on other machines are read.
struct RemoteOptions {
  std::optional<unsigned> max_wait_s;       // for a hub or storage that fails, over all tries of a request
  std::optional<std::uint64_t> limit_rate;  // bytes a second
  unsigned connections = 0;                 // requests in flight; 0: as latency and bandwidth ask for
};

// The value of --limit-rate: bytes a second, more than 0. Throws kUsage.
std::uint64_t parse_rate(const std::string& text);

class App {
 public:
  using Choices = std::vector<std::string_view>;

  explicit App(const ProgramText& text);
  App(const App&) = delete;
  App& operator=(const App&) = delete;
  ~App();

  // A flag, with or without a short form: "-f,--force".
  void flag(const std::string& names, bool& target, const std::string& help);
  // A flag that may carry a value after '=': "--check[=LEVEL]". `fallback` stands for no value. If there are
  // choices, here or below, parse() refuses any other value.
  void optional_value(const std::string& names, const std::string& value_name, const std::string& fallback,
                      std::optional<std::string>& target, const std::string& help,
                      const Choices& choices = {});
  void value(const std::string& names, const std::string& value_name, std::optional<std::string>& target,
             const std::string& help, const Choices& choices = {});
  void list(const std::string& names, const std::string& value_name, std::vector<std::string>& target,
            const std::string& help);
  void operands(std::vector<std::string>& target);
  // An option that names a file with the values of other options, one "key = value" per line, in the format
  // of CLI11 (TOML without tables). The command line wins.
  void config(const std::string& names, const std::string& value_name, const std::string& help);

  // Options added from here on are shown under this heading.
  void group(const std::string& heading) { group_ = heading; }
  // Options that all programs have in common; `which` picks by letter: j json, 0 null, n dry run, p progress, t
  // threads.
  void common(CommonOptions& options, std::string_view which,
              const std::string& threads_help = "threads (default: all)");

  // --max-wait, --limit-rate and --connections.
  void remote(RemoteOptions& options);

  // Prints and throws ExitNow for --help, --version and a lone --dump-options; throws kUsage for wrong arguments.
  // `argv` is borrowed.
  void parse(int argc, const char* const* argv);
  // What --help prints, in lines of at most 80 columns.
  [[nodiscard]] std::string help() const;
  // What --dump-options prints: the options as JSON, for what is made from them (see lib/README.md).
  [[nodiscard]] std::string options_json() const;

 private:
  enum class Takes : unsigned char { kNothing, kMaybeAfterEquals, kValue };
  struct Traits {
    Takes takes;
    Choices choices;
  };
  CLI::Option* finish(CLI::Option* option, Takes takes, const Choices& choices = {});
  void require_choice(const CLI::Option* option, const std::optional<std::string>& target);
  [[nodiscard]] std::optional<std::string> nearest(std::string_view written) const;
  [[nodiscard]] Error config_error(std::string_view what) const;
  [[nodiscard]] const CLI::Option* find(const std::string& name, std::string_view written) const;
  std::vector<std::string> take_operands(int argc, const char* const* argv);
  [[nodiscard]] bool check_long(std::string_view argument) const;
  [[nodiscard]] bool check_short(std::string_view argument) const;
  void apply_common();
  void apply_remote();

  ProgramText text_;
  std::string group_ = "Options";
  std::unique_ptr<CLI::App> app_;
  std::vector<std::string> groups_;
  std::unordered_map<const CLI::Option*, Traits> traits_;
  bool help_ = false, version_ = false;
  std::optional<std::string> color_, threads_, max_wait_, limit_rate_, connections_;
  RemoteOptions* remote_ = nullptr;
  std::deque<std::string> stored_;  // values of optional_value(), at addresses that stay
  std::vector<std::function<void()>> after_parse_;
  std::vector<std::string>* operands_ = nullptr;
  CommonOptions* common_ = nullptr;
};

}  // namespace mu
