// SPDX-License-Identifier: Apache-2.0
// For tests of what must not happen to the test program itself: signals, limits, other users, being killed.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <exception>

namespace mu::testing {

// What a child returns when a check of its own went well.
inline constexpr int kChildPassed = 42;
// What it returns where the machine does not allow what it needs.
inline constexpr int kChildSkipped = 43;

// Runs `child` in a process of its own and returns how that ended, as waitpid tells it. Destructors of the
// parent's objects do not run in the child.
template <typename Child>
int in_child(Child child) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    try {
      child();
    } catch (const std::exception&) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return status;
}

// The same for a child that returns a number.
template <typename Child>
int result_of_child(Child child) {
  const int status = in_child([&] { ::_exit(child()); });
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace mu::testing
