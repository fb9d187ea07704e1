// SPDX-License-Identifier: Apache-2.0
// SIGINT, SIGTERM and SIGHUP: the handler only notes the signal; the code that does the work checks between
// steps and unwinds, so that destructors clean up; cli::run raises the signal again, so that shells stop
// their loops.
#pragma once

#include <functional>

namespace mu {

// Thrown by check_interrupt(). It is not a mu::Error: only cli::run catches it.
struct Interrupted {
  int signal;
};

// Notes signals from now on and ignores SIGPIPE (a write to a closed pipe is then EPIPE). A signal that was
// ignored when the program started (nohup) stays ignored. System calls are interrupted, not restarted.
void install_signal_handlers();

// Throws Interrupted when a signal was noted.
void check_interrupt();

// While it lives, check_interrupt() of this thread calls `check`, too, which throws to end what the thread waits for.
class AlsoCheck {
 public:
  explicit AlsoCheck(std::function<void()> check);
  AlsoCheck(const AlsoCheck&) = delete;
  AlsoCheck& operator=(const AlsoCheck&) = delete;
  ~AlsoCheck();

 private:
  std::function<void()> check_;
};

// Waits until something can be read from `fd`, or throws Interrupted. A signal that comes just before a
// blocking read would be noticed only after it; this can't miss one.
void wait_readable(int fd);

// Ends the process as the default action of `signal` does.
[[noreturn]] void raise_again(int signal);

}  // namespace mu
