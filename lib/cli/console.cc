// SPDX-License-Identifier: Apache-2.0
#include "cli/console.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "os/file.h"

namespace mu {
namespace {

constexpr std::size_t kBuffer = 64U << 10;
constexpr std::string_view kStdoutName = "standard output";

std::string& buffer() {
  static std::string text;
  return text;
}

std::mutex& stderr_mutex() {
  static std::mutex mutex;
  return mutex;
}

constexpr std::string_view kWipe = "\r\x1b[K";
bool status_drawn = false;  // guarded by stderr_mutex()

// A stderr that can't be written to is not a reason to stop. The caller holds stderr_mutex().
void write_err(std::string_view text, bool keeps_status = false) {
  std::string piece;
  if (std::exchange(status_drawn, keeps_status)) piece = kWipe;
  piece += text;
  if (!piece.empty() && ::write(STDERR_FILENO, piece.data(), piece.size()) < 0) return;
}

std::size_t width_of(int fd) {
  winsize size{};
  return ::isatty(fd) == 1 && ::ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

// Whether the environment lets a stream have colours (no-color.org).
bool wants_color(bool is_terminal) {
  const char* const no_color = std::getenv("NO_COLOR");
  const char* const term = std::getenv("TERM");
  const bool dumb = term == nullptr || std::string_view(term) == "dumb";
  return is_terminal && !dumb && (no_color == nullptr || *no_color == '\0');
}

bool use_color(int fd) {
  if (console().color != ColorMode::kAuto) return console().color == ColorMode::kAlways;
  static const bool on_out = wants_color(out_is_terminal()), on_err = wants_color(err_is_terminal());
  return fd == STDOUT_FILENO ? on_out : on_err;
}

constexpr std::string_view kBold = "1", kDim = "2", kRed = "31", kGreen = "32", kYellow = "33",
                           kBoldRed = "1;31", kBoldYellow = "1;33", kCyan = "36";

std::string styled(std::string_view code, std::string_view text, int fd = STDOUT_FILENO) {
  if (code.empty() || text.empty() || !use_color(fd)) return std::string(text);
  return "\x1b[" + std::string(code) + "m" + std::string(text) + "\x1b[0m";
}

// "program: text", the name of the program in the colour of the message's kind. One write per line, so that
// lines of several programs don't mix.
void print_line(std::string_view mood, std::string_view label, std::string_view text) {
  const std::string prefix = console().program + ":" + std::string(label);
  std::string line = styled(mood, prefix, STDERR_FILENO) + " ";
  line.append(text) += '\n';
  const std::lock_guard<std::mutex> lock(stderr_mutex());
  write_err(line);
}

}  // namespace

ConsoleSettings& console() {
  static ConsoleSettings settings;
  return settings;
}

void out(std::string_view text) {
  if (text.size() >= kBuffer) {  // a header of 100 MB needs no second copy
    flush_out();
    write_stream(STDOUT_FILENO, text, kStdoutName);
    return;
  }
  buffer() += text;
  if (buffer().size() >= kBuffer) flush_out();
}

void flush_out() {
  const std::string pending = std::exchange(buffer(), {});
  if (pending.empty()) return;
  if (out_is_terminal()) clear_status();
  write_stream(STDOUT_FILENO, pending, kStdoutName);
}

void close_out() {
  flush_out();
  if (::close(STDOUT_FILENO) != 0 && errno != EBADF) throw io_error("write", errno, kStdoutName);
}

void print_error(std::string_view text) {
  print_line(kBoldRed, "", text);
}

void print_error(const Error& error) {
  const std::string_view text = error.what(), hint = error.hint();
  const std::size_t fault = text.size() - hint.size();
  print_error(std::string(text.substr(0, fault)) + styled(kCyan, hint, STDERR_FILENO));
}

void print_warning(std::string_view text) {
  if (!console().quiet) print_line(kBoldYellow, " warning:", text);
}

void print_note(std::string_view text) {
  if (!console().quiet) print_line("", "", text);
}

void print_detail(std::string_view text) {
  if (console().verbose > 0) print_line("", "", text);
}

namespace {
std::string& last_note() {
  static std::string text;
  return text;
}
}  // namespace

void note_at_end(std::string text) {
  last_note() = std::move(text);
}

void print_note_at_end() {
  if (const std::string text = std::exchange(last_note(), {}); !text.empty()) print_note(text);
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
  return width_of(STDOUT_FILENO);
}
std::size_t err_width() {
  return width_of(STDERR_FILENO);
}

void draw_status(std::string_view text) {
  const std::size_t width = err_width();
  const std::lock_guard<std::mutex> lock(stderr_mutex());
  write_err(width > 1 ? shorten(text, width - 1) : text, true);
}

void clear_status() {
  const std::lock_guard<std::mutex> lock(stderr_mutex());
  write_err("");
}

std::string bold(std::string_view text) {
  return styled(kBold, text);
}
std::string dim(std::string_view text) {
  return styled(kDim, text);
}
std::string red(std::string_view text) {
  return styled(kRed, text);
}
std::string green(std::string_view text) {
  return styled(kGreen, text);
}
std::string yellow(std::string_view text) {
  return styled(kYellow, text);
}

}  // namespace mu
