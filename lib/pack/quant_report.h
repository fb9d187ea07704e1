// SPDX-License-Identifier: Apache-2.0
// What --quantize does, for people and for programs.
#pragma once

#include <string>
#include <vector>

#include "base/json_write.h"
#include "cli/table.h"
#include "pack/quantise.h"

namespace mu {

// Rows "quantize", and "stay" for what stays: modules that differ in numbers alone are one row.
void add_rows(Table& table, const QuantizePlan& plan);

// A member "quantize". `done`: with the errors that were measured.
void write_quantize(JsonWriter& json, const QuantizePlan& plan, bool done);

// A line for each module whose error was measured.
std::vector<std::string> error_lines(const QuantizePlan& plan);

}  // namespace mu
