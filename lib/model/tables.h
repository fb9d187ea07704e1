// SPDX-License-Identifier: Apache-2.0
// The tables in data/ as text, built in. Scripts in tests/interop make them from the libraries; they have one
// record a line, with tabs between its fields.
#pragma once

#include <string_view>

namespace mu {

// Kind and name of the files of tokenizers and processors; the name of a folder ends in a slash. Lines that
// begin with # are comments.
extern const std::string_view kProcessorFiles;
// What model classes call their tensors (name_table.cc).
extern const std::string_view kTensorNames;
// What Transformers ties (tie_table.cc).
extern const std::string_view kTies;

// The line of a table that begins so, without the line end; empty if there is none. The first line, which says
// where the table is from, does not count.
std::string_view find_line(std::string_view table, std::string_view beginning);

}  // namespace mu
