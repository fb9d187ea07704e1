// SPDX-License-Identifier: Apache-2.0
#include "cli/console.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <mutex>

#include "os/file.h"

namespace mu {
namespace {

constexpr std::size_t kBuffer = 64U << 10;

std::string& buffer() {
  static std::string text;
  return text;
}

std::mutex& stderr_mutex() {
  static std::mutex mutex;
  return mutex;
}

// One write a line, so that lines of several programs don't mix. A stderr that can't be written to is no
// reason to stop.
void print_line(std::string_view prefix, std::string_view text) {
  std::string line = console().program + ": ";
  line.append(prefix).append(text) += '\n';
  const std::lock_guard<std::mutex> lock(stderr_mutex());
  if (::write(STDERR_FILENO, line.data(), line.size()) < 0) return;
}

bool use_color() {
  static const bool decided = [] {
    if (console().color != ColorMode::kAuto) return console().color == ColorMode::kAlways;
    const char* const no_color = std::getenv("NO_COLOR");
    const char* const term = std::getenv("TERM");
    const bool dumb = term == nullptr || std::string_view(term) == "dumb";
    return out_is_terminal() && !dumb && (no_color == nullptr || *no_color == '\0');
  }();
  return decided;
}

std::string styled(std::string_view code, std::string_view text) {
  if (!use_color()) return std::string(text);
  return "\x1b[" + std::string(code) + "m" + std::string(text) + "\x1b[0m";
}

}  // namespace

ConsoleSettings& console() {
  static ConsoleSettings settings;
  return settings;
}

void out(std::string_view text) {
  buffer() += text;
  if (buffer().size() >= kBuffer) flush_out();
}

void flush_out() {
  const std::string pending = std::move(buffer());
  buffer().clear();
  write_stream(STDOUT_FILENO, pending, "standard output");
}

void print_error(std::string_view text) {
  print_line("", text);
}

void print_warning(std::string_view text) {
  if (!console().quiet) print_line("warning: ", text);
}

void print_note(std::string_view text) {
  if (!console().quiet) print_line("", text);
}

void print_detail(std::string_view text) {
  if (console().verbose > 0) print_line("", text);
}

bool out_is_terminal() {
  static const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  return terminal;
}

bool err_is_terminal() {
  static const bool terminal = ::isatty(STDERR_FILENO) == 1;
  return terminal;
}

std::size_t out_width() {
  winsize size{};
  if (!out_is_terminal() || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col;
}

std::string bold(std::string_view text) {
  return styled("1", text);
}
std::string dim(std::string_view text) {
  return styled("2", text);
}
std::string red(std::string_view text) {
  return styled("31", text);
}
std::string green(std::string_view text) {
  return styled("32", text);
}
std::string yellow(std::string_view text) {
  return styled("33", text);
}

}  // namespace mu
