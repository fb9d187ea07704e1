// SPDX-License-Identifier: Apache-2.0
// Reads the JSON as serde reads it into the reference's structures, in one pass over the text: a pull scanner
// (base/json_scan.h) hands out values, and nothing is kept but the entries. serde accepts more than the
// format's README documents: a struct written as an array, a map for a unit, members in any order. Such a
// form is a finding of level spec. What serde refuses is a Fault, which is thrown and caught in this file: it
// becomes a finding of level loads, ends the reading, and leaves the entries that came before.
//
// The header may have 100 MB and describe half a million tensors, so names are views of the text and an entry
// costs little more than its shape.
#include "weights/header_entries.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/json_scan.h"
#include "base/text.h"

namespace mu {
namespace {

constexpr std::size_t kTypicalEntry = 96;  // bytes of header per tensor, a low estimate

// Fatal for the entry being read and for the file: thrown and caught only in this file.
struct Fault {
  std::string_view rule;
  std::size_t offset;
  std::string message;
};

class HeaderParser {
 public:
  HeaderParser(std::string_view json, std::string_view file, Findings& findings)
      : scan_(json, 8), file_(file), findings_(findings) {}

  // Fills `result` with what comes before a fault.
  void parse();

  HeaderEntries result;

 private:
  void parse_metadata();
  void parse_entry(std::string name, std::size_t at);
  void parse_entry_object(HeaderEntry& entry);
  void parse_entry_array(HeaderEntry& entry);
  Dtype parse_dtype_value(const HeaderEntry& entry);
  void parse_shape(HeaderEntry& entry);
  void parse_offsets(HeaderEntry& entry);
  std::uint64_t parse_number(std::string_view rule, std::string_view what, const HeaderEntry& entry);
  [[nodiscard]] Fault fault(std::string_view rule, std::string message) const {
    return {rule, scan_.offset(), std::move(message)};
  }
  void odd(std::string_view rule, Level level, bool warning, std::size_t at, std::string message) {
    findings_.add({rule, level, warning, std::move(message), std::string(file_), at});
  }

  JsonScanner scan_;
  std::string_view file_;
  Findings& findings_;
  std::string scratch_;
  bool has_metadata_ = false;
};

void HeaderParser::parse() {
  scan_.expect('{', "'{'");
  if (!scan_.take('}')) {
    do {
      scan_.peek();
      const std::size_t at = scan_.offset();
      std::string name(scan_.string(scratch_));
      scan_.expect(':', "':'");
      if (name == "__metadata__") {
        parse_metadata();
      } else {
        parse_entry(std::move(name), at);
      }
    } while (scan_.take(','));
    scan_.expect('}', "',' or '}'");
  }
  scan_.expect_end();
}

void HeaderParser::parse_metadata() {
  if (has_metadata_) throw fault("ST-DUP", "__metadata__ appears twice");
  has_metadata_ = true;
  scan_.peek();
  const std::size_t at = scan_.offset();
  if (scan_.take_null()) {
    odd("ST-META", Level::kSpec, true, at, "__metadata__ is null");
    return;
  }
  if (!scan_.take('{')) throw fault("ST-META", "__metadata__ is not an object");
  result.metadata.emplace();
  if (scan_.take('}')) return;
  do {
    scan_.peek();
    const std::size_t key_at = scan_.offset();
    const std::string key(scan_.string(scratch_));
    scan_.expect(':', "':'");
    if (scan_.peek() != '"')
      throw fault("ST-META", "the value of metadata key " + quoted_name(key) + " is not a string");
    std::string value(scan_.string(scratch_));
    if (result.metadata->contains(key)) {
      odd("ST-DUP", Level::kSpec, false, key_at,
          "metadata key " + quoted_name(key) + " appears twice; the last one counts");
    }
    (*result.metadata)[key] = std::move(value);
  } while (scan_.take(','));
  scan_.expect('}', "',' or '}'");
}

void HeaderParser::parse_entry(std::string name, std::size_t at) {
  HeaderEntry entry;
  entry.name = std::move(name);
  entry.at = at;
  const char first = scan_.peek();
  if (first == '{') {
    parse_entry_object(entry);
  } else if (first == '[') {
    odd("ST-MEMBER", Level::kSpec, false, scan_.offset(),
        "tensor " + quoted_name(entry.name) + " is described by an array");
    parse_entry_array(entry);
  } else {
    throw fault("ST-MEMBER", "tensor " + quoted_name(entry.name) + " is not described by an object");
  }
  result.tensors.push_back(std::move(entry));
}

void HeaderParser::parse_entry_object(HeaderEntry& entry) {
  enum Field : std::size_t { kDtype, kShape, kOffsets, kFields };
  constexpr std::array<std::string_view, kFields> kNames = {"dtype", "shape", "data_offsets"};
  std::array<bool, kFields> seen{};
  scan_.expect('{', "'{'");
  if (!scan_.take('}')) {
    do {
      scan_.peek();
      const std::size_t key_at = scan_.offset();
      const std::string_view key = scan_.string(scratch_);
      const auto field =
          static_cast<std::size_t>(std::find(kNames.begin(), kNames.end(), key) - kNames.begin());
      if (field == kFields) {
        odd("ST-MEMBER", Level::kSpec, true, key_at,
            "tensor " + quoted_name(entry.name) + " has an unknown member " + quoted_name(key));
      } else if (seen[field]) {
        throw Fault{"ST-DUP", key_at,
                    fmt::format("tensor {} has {} twice", quoted_name(entry.name), kNames[field])};
      }
      scan_.expect(':', "':'");
      if (field == kFields) {
        scan_.skip_value(2);
        continue;
      }
      seen[field] = true;
      if (field == kDtype) entry.dtype = parse_dtype_value(entry);
      if (field == kShape) parse_shape(entry);
      if (field == kOffsets) parse_offsets(entry);
    } while (scan_.take(','));
    scan_.expect('}', "',' or '}'");
  }
  for (std::size_t field = 0; field < kFields; ++field) {
    if (!seen[field])
      throw fault("ST-MEMBER", fmt::format("tensor {} has no {}", quoted_name(entry.name), kNames[field]));
  }
}

// serde reads a struct from an array of its fields in order.
void HeaderParser::parse_entry_array(HeaderEntry& entry) {
  const auto next = [&] {
    if (!scan_.take(','))
      throw fault("ST-MEMBER", "the array of tensor " + quoted_name(entry.name) + " has too few items");
  };
  scan_.expect('[', "'['");
  if (scan_.peek() == ']')
    throw fault("ST-MEMBER", "the array of tensor " + quoted_name(entry.name) + " is empty");
  entry.dtype = parse_dtype_value(entry);
  next();
  parse_shape(entry);
  next();
  parse_offsets(entry);
  if (scan_.peek() == ',')
    throw fault("ST-MEMBER", "the array of tensor " + quoted_name(entry.name) + " has too many items");
  scan_.expect(']', "']'");
}

Dtype HeaderParser::parse_dtype_value(const HeaderEntry& entry) {
  scan_.peek();
  const std::size_t at = scan_.offset();
  const bool in_object = scan_.peek() == '{';
  if (in_object) {
    odd("ST-DTYPE", Level::kSpec, false, at,
        "the dtype of tensor " + quoted_name(entry.name) + " is wrapped in an object");
    scan_.expect('{', "'{'");
  }
  if (scan_.peek() != '"')
    throw fault("ST-DTYPE", "the dtype of tensor " + quoted_name(entry.name) + " is not a string");
  const std::string_view text = scan_.string(scratch_);
  const std::optional<Dtype> dtype = parse_dtype(text);
  if (!dtype) {
    throw Fault{"ST-DTYPE", at,
                fmt::format("tensor {} has unknown dtype {}", quoted_name(entry.name), quoted_name(text))};
  }
  if (in_object) {
    scan_.expect(':', "':'");
    if (!scan_.take_null())
      throw fault("ST-DTYPE",
                  "the dtype of tensor " + quoted_name(entry.name) + " is an object that holds something");
    scan_.expect('}', "'}'");
  }
  return *dtype;
}

void HeaderParser::parse_shape(HeaderEntry& entry) {
  if (!scan_.take('['))
    throw fault("ST-SHAPE", "the shape of tensor " + quoted_name(entry.name) + " is not an array");
  if (scan_.take(']')) return;
  entry.shape.reserve(2);  // most tensors are matrices
  do {
    entry.shape.push_back(parse_number("ST-SHAPE", "a dimension", entry));
  } while (scan_.take(','));
  scan_.expect(']', "',' or ']'");
}

void HeaderParser::parse_offsets(HeaderEntry& entry) {
  const auto whose = [&entry] { return "data_offsets of tensor " + quoted_name(entry.name); };
  if (!scan_.take('[')) throw fault("ST-MEMBER", whose() + " is not an array");
  for (std::uint64_t* offset : {&entry.begin, &entry.end}) {
    *offset = parse_number("ST-MEMBER", "an offset", entry);
    if (offset == &entry.begin && !scan_.take(',')) throw fault("ST-MEMBER", whose() + " has one number");
  }
  if (scan_.peek() == ',') throw fault("ST-MEMBER", whose() + " has more than two numbers");
  scan_.expect(']', "']'");
}

std::uint64_t HeaderParser::parse_number(std::string_view rule, std::string_view what,
                                         const HeaderEntry& entry) {
  try {
    return scan_.unsigned_number(what);
  } catch (const JsonScanError& error) {
    throw Fault{rule, error.offset(), "tensor " + quoted_name(entry.name) + ": " + error.message()};
  }
}

}  // namespace

HeaderEntries parse_header_entries(std::string_view json, std::string_view file, Findings& findings) {
  HeaderParser parser(json, file, findings);
  parser.result.tensors.reserve(json.size() / kTypicalEntry);
  const auto fatal = [&](std::string_view rule, std::uint64_t at, std::string message) {
    findings.add({rule, Level::kLoads, false, std::move(message), std::string(file), at});
  };
  try {
    parser.parse();
  } catch (const Fault& fault) {
    fatal(fault.rule, fault.offset, fault.message);
  } catch (const JsonScanError& error) {
    fatal("ST-JSON", error.offset(), error.message());
  }
  return std::move(parser.result);
}

}  // namespace mu
