// SPDX-License-Identifier: Apache-2.0
#include "cli/run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <new>

#include "base/error.h"
#include "cli/console.h"
#include "os/file.h"
#include "os/interrupt.h"

namespace mu {
namespace {

// A closed stdin, stdout or stderr would hand its number to the next file that is opened. Fill the gap with
// something that fails: reading gives nothing, writing is refused.
void fill_closed_streams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    if (::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) std::_Exit(7);
  }
}

int report(const Error& error) {
  print_error(error);
  return exit_code(error.kind());
}

// What was printed before the fault goes out first. A stdout that can't be written to doesn't hide the fault.
int report_after_output(const Error& error) {
  try {
    flush_out();
  } catch (const Error&) {
    report(error);
    throw;
  }
  return report(error);
}

int guarded(const std::function<int()>& body) {
  try {
    const int code = body();
    close_out();
    return code;
  } catch (const ExitNow& exit) {
    close_out();
    return exit.code;
  } catch (const Error& error) {
    return report_after_output(error);
  } catch (const std::bad_alloc&) {
    print_error("out of memory");
    return exit_code(ErrorKind::kIo);
  }
}

}  // namespace

int run(std::string_view program, const std::function<int()>& body) {
  fill_closed_streams();
  install_signal_handlers();
  console().program = program;
  int code = 0, signal = 0;
  try {
    code = guarded(body);
  } catch (const Interrupted& interrupted) {
    signal = interrupted.signal;
  } catch (const BrokenPipe&) {
    signal = SIGPIPE;
  } catch (const Error& error) {  // stdout failed while another end was reported
    code = report(error);
  } catch (const std::exception& fault) {
    print_error(fmt::format("internal error: {}; please report it", fault.what()));
    code = exit_code(ErrorKind::kIo);
  }
  print_note_at_end();
  if (signal != 0) raise_again(signal);
  return code;
}

int for_each_operand(const std::vector<std::string>& operands,
                     const std::function<int(const std::string&)>& each) {
  constexpr std::array<int, 4> kWorstFirst = {7, 4, 1, 3};
  std::vector<int> codes;
  for (const std::string& operand : operands) {
    try {
      codes.push_back(each(operand));
    } catch (const Error& error) {
      const bool known =
          std::find(kWorstFirst.begin(), kWorstFirst.end(), exit_code(error.kind())) != kWorstFirst.end();
      if (operands.size() == 1 || !known) throw;
      codes.push_back(report_after_output(error));
    }
  }
  for (const int code : kWorstFirst) {
    if (std::find(codes.begin(), codes.end(), code) != codes.end()) return code;
  }
  return 0;
}

}  // namespace mu
