// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

#include <cstring>

namespace mu {

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kAnswerNo:
      return 1;
    case ErrorKind::kUsage:
      return 2;
    case ErrorKind::kPartial:
      return 3;
    case ErrorKind::kMalformed:
      return 4;
    case ErrorKind::kRefused:
      return 5;
    case ErrorKind::kRemote:
      return 6;
    case ErrorKind::kIo:
      return 7;
    case ErrorKind::kTemporary:
      return 75;
  }
  return 7;
}

Error::Error(ErrorKind kind, std::string message) : kind_(kind), message_(std::move(message)) {
  compose();
}

Error& Error::in_file(std::string_view path) {
  if (file_.empty()) file_ = path;
  compose();
  return *this;
}

Error& Error::at(std::string_view place) {
  if (place_.empty()) place_ = place;
  compose();
  return *this;
}

Error& Error::hint(std::string_view advice) {
  if (hint_.empty()) hint_ = advice;
  compose();
  return *this;
}

void Error::compose() {
  text_.clear();
  for (const std::string* part : {&file_, &place_}) {
    if (!part->empty()) text_ += *part + ": ";
  }
  text_ += message_;
  if (!hint_.empty()) text_ += "; " + hint_;
}

Error io_error(std::string_view what, int errno_value, std::string_view path) {
  Error error(ErrorKind::kIo, "cannot " + std::string(what) + ": " + std::strerror(errno_value));
  if (!path.empty()) error.in_file(path);
  return error;
}

Error malformed(std::string message) {
  return {ErrorKind::kMalformed, std::move(message)};
}
Error refused(std::string message) {
  return {ErrorKind::kRefused, std::move(message)};
}
Error usage(std::string message) {
  return {ErrorKind::kUsage, std::move(message)};
}

}  // namespace mu
