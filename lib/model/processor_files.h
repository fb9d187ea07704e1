// SPDX-License-Identifier: Apache-2.0
// The files of tokenizers and processors as text (data/processor_files.txt): kind and name in a line, a tab
// between them; the name of a folder ends in a slash. Lines that begin with # are comments.
#pragma once

#include <string_view>

namespace mu {

extern const std::string_view kProcessorFiles;

}  // namespace mu
