// SPDX-License-Identifier: Apache-2.0
// The one exception type of the project. It is thrown where a fault is seen, gets context on the way up and is
// caught once, in cli::run. Only its kind decides the exit code of a program.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <string_view>

namespace mu {

enum class ErrorKind : std::uint8_t {
  kAnswerNo,   // the answer is no: something was found, two things differ (exit 1)
  kUsage,      // wrong usage (2)
  kPartial,    // partly done (3)
  kMalformed,  // an input is malformed, unsafe or of an unsupported kind (4)
  kRefused,    // refused by a safety rule; nothing was changed (5)
  kRemote,     // the remote refused for good (6)
  kIo,         // input or output failed (7)
  kTemporary,  // temporary failure, try again later (75)
};

// The exit status that modelutils(7) promises for a kind.
int exit_code(ErrorKind kind);

// A fault: what is wrong, where, and what to do about it. what() reads
// "file: place: message; hint", leaving out what is not known.
class Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string message);

  // Adds context on the way up. The first caller to name a file or a place wins: it was nearest to the fault.
  Error& in_file(std::string_view path);
  Error& at(std::string_view place);
  // What the user can do next, one clause without a full stop.
  Error& hint(std::string_view advice);

  [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }
  [[nodiscard]] ErrorKind kind() const noexcept { return kind_; }
  [[nodiscard]] const std::string& message() const noexcept { return message_; }
  [[nodiscard]] const std::string& file() const noexcept { return file_; }
  [[nodiscard]] const std::string& hint() const noexcept { return hint_; }  // the end of what()

 private:
  void compose();

  ErrorKind kind_;
  std::string message_, file_, place_, hint_, text_;
};

// kIo with the text of an errno value: "cannot WHAT: No such file or directory".
Error io_error(std::string_view what, int errno_value, std::string_view path = {});
Error malformed(std::string message);
Error refused(std::string message);
Error usage(std::string message);

}  // namespace mu
