// SPDX-License-Identifier: Apache-2.0
// The frame around every program: signals, the one place where errors are caught, exit codes.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

// Ends a program early with a code, as --help does. What was printed is flushed.
struct ExitNow {
  int code;
};

// Runs `body` and returns the exit status: the result of `body`, or the code of an Error, which is printed as
// "program: file: place: fault". After a signal it cleans up and ends the process by the signal's default
// action.
int run(std::string_view program, const std::function<int()>& body);

// Calls `each` for every operand; an operand that fails is reported and the others are still done. The result
// is the first of 7, 4, 1, 3 that occurred, else 0. Other errors (usage, refused) end the loop at once.
int for_each_operand(const std::vector<std::string>& operands,
                     const std::function<int(const std::string&)>& each);

}  // namespace mu
