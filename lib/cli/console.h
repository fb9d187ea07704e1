// SPDX-License-Identifier: Apache-2.0
// The two streams of a program: stdout carries the result and nothing else, everything else goes to stderr as
// "program: what". Callers escape names that come from files (base/text.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace mu {

enum class ColorMode : std::uint8_t { kAuto, kAlways, kNever };

// How loud the program is and how it may look; set once from the common options.
struct ConsoleSettings {
  std::string program;
  std::vector<std::string> command;  // as the user wrote it, the program's name first
  bool quiet = false;
  int verbose = 0;
  ColorMode color = ColorMode::kAuto;
};
ConsoleSettings& console();

// Appends to stdout, buffered. Throws kIo when a write fails and BrokenPipe when nobody reads any more.
void out(std::string_view text);
void flush_out();
// Flushes and closes stdout, because some file systems report a full disk only when a file is closed (NFS,
// quotas).
void close_out();

void print_error(std::string_view text);    // always
void print_error(const Error& error);       // the same, its hint set off
void print_warning(std::string_view text);  // "program: warning: …", unless quiet
void print_note(std::string_view text);     // unless quiet
void print_detail(std::string_view text);   // with -v

// Keeps a note that cli::run prints behind the error that the program ends with. The last one counts.
void note_at_end(std::string text);
void print_note_at_end();

bool out_is_terminal();
bool err_is_terminal();
// Columns of the terminal on stdout or stderr; 0 when it is not a terminal, so that nothing is cut.
std::size_t out_width();
std::size_t err_width();

// One line at the foot of stderr, drawn over itself. Whatever is printed next wipes it first.
void draw_status(std::string_view text);
void clear_status();

// Text with a colour or weight, plain where stdout gets none. What goes to stderr has colours of its own,
// where that is a terminal.
std::string bold(std::string_view text);
std::string dim(std::string_view text);
std::string red(std::string_view text);
std::string green(std::string_view text);
std::string yellow(std::string_view text);

}  // namespace mu
