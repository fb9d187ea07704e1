// SPDX-License-Identifier: Apache-2.0
// Errors that name the file they are about.
#pragma once

#include <string_view>

#include "base/error.h"
#include "base/text.h"

namespace mu {

// Returns what `work` returns. An Error that it throws and that names no file yet names `path`.
template <typename Work>
auto in_file(std::string_view path, const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (Error& error) {
    throw error.in_file(escape_name(path));
  }
}

}  // namespace mu
