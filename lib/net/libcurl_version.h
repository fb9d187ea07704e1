// SPDX-License-Identifier: Apache-2.0
// What programs say about libcurl; libcurl.h, which needs its headers, is for net/ alone.
#pragma once

#include <string>

namespace mu {

// A line for each copy of libcurl on this machine: version, place, and whether it is used. What --version -v
// adds. Never throws for want of a copy.
std::string describe_libcurl();

}  // namespace mu
