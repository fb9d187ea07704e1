// SPDX-License-Identifier: Apache-2.0
#include "os/interrupt.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <utility>

namespace mu {
namespace {

std::atomic<int> noted_signal{0};

// Made by the first wait_readable(); the handler writes to it, so that the wait ends.
std::atomic<int> wake_fd{-1};
static_assert(std::atomic<int>::is_always_lock_free);  // a handler may use it then

thread_local const std::function<void()>* also_check = nullptr;

extern "C" void note_signal(int signal) {
  const int before = errno;
  const std::uint64_t one = 1;
  noted_signal = signal;
  if (wake_fd >= 0 && ::write(wake_fd, &one, sizeof one) < 0) noted_signal = signal;
  errno = before;
}

void set_handler(int signal, void (*handler)(int)) {
  struct sigaction before {};
  if (sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) return;
  struct sigaction action {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

}  // namespace

void install_signal_handlers() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) set_handler(signal, note_signal);
  set_handler(SIGPIPE, SIG_IGN);
  set_handler(SIGXFSZ, SIG_IGN);  // where file sizes are limited, a write then fails with a message
}

void check_interrupt() {
  if (const int signal = noted_signal; signal != 0) throw Interrupted{signal};
  if (also_check != nullptr) (*also_check)();
}

AlsoCheck::AlsoCheck(std::function<void()> check) : check_(std::move(check)) {
  also_check = &check_;
}

AlsoCheck::~AlsoCheck() {
  also_check = nullptr;
}

void wait_readable(int fd) {
  if (wake_fd < 0) wake_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  check_interrupt();
  pollfd watched[] = {{fd, POLLIN, 0}, {wake_fd, POLLIN, 0}};
  ::poll(watched, 2, -1);
  check_interrupt();
}

void raise_again(int signal) {
  std::signal(signal, SIG_DFL);
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signal);
  sigprocmask(SIG_UNBLOCK, &only, nullptr);
  std::raise(signal);
  std::_Exit(128 + signal);
}

}  // namespace mu
