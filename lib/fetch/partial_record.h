// SPDX-License-Identifier: Apache-2.0
// The record of a partial output (partial.h) as text. Each line ends in a checksum, so that a line that was cut, or mixed
// with another, is recognised: it and everything behind it do not count.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mu {

// Who holds a partial output. All empty: not known.
struct PartialOwner {
  std::string run;      // a random number
  std::string boot;     // this_boot() of its machine (os/stage_name.h)
  std::string host;     // the name of its machine
  bool locked = false;  // it holds the lock of the kernel
};

struct PartialRecord {
  std::string id;        // a random number; the folder of the work bears its name
  std::string identity;  // of the work
  PartialOwner owner;
  bool given_up = false;           // the owner ended by itself
  std::vector<std::string> steps;  // that are on the disk
};

// Reads a record; `id` stays empty where its first line is not whole.
PartialRecord parse_record(std::string_view text);
// The whole record, for a new owner.
std::string record_text(const PartialRecord& record);
std::string in_one_line(std::string_view text);  // no two texts become one
// Lines to add, with line breaks.
std::string step_line(std::string_view step);
std::string given_up_line();

// 16 hexadecimal digits.
std::string random_id();
bool is_random_id(std::string_view text);

}  // namespace mu
