// SPDX-License-Identifier: Apache-2.0
// Reads headers. header_entries.h makes the list of tensors in one pass over the JSON; here a pass over the
// list in the order of offsets checks that the tensors tile the buffer: each starts where the one before
// ended. The verdicts follow the reference reader's, in its order; what it lets through and a careful reader
// would not is a finding of a stronger level.
//
// A finding does not end the reading unless the reference's reader would stop, so that --check can list all
// that is wrong. Before anything is parsed, the first eight bytes are judged: the length must fit the file
// and the reference's ceiling of 100 MB, and if it does not, the start of the file usually shows what the
// file is instead (sniff.h).
#include "weights/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <tuple>
#include <utility>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/sizes.h"
#include "base/text.h"
#include "weights/header_entries.h"
#include "weights/sniff.h"

namespace mu {
namespace {

constexpr std::uint64_t kMaxDimensions = 8;                         // what other readers stop at
constexpr std::uint64_t kMaxHubDimension = std::uint64_t{1} << 32;  // @huggingface/hub
constexpr std::uint64_t kMax48Bits = 281'474'976'710'655;           // docs/safetensors.schema.json

// Drops all but the last of equal names. Names in ascending order, as every writer leaves them within a dtype,
// can't repeat, so a table is made only for headers with several such runs.
void drop_repeated_names(std::vector<HeaderEntry>& entries, std::string_view file, Findings& findings) {
  const bool ascending =
      std::adjacent_find(entries.begin(), entries.end(), [](const HeaderEntry& a, const HeaderEntry& b) {
        return a.name >= b.name;
      }) == entries.end();
  if (ascending) return;
  // Equal names end up side by side, earlier ones first; names are looked at only where their hashes agree.
  std::vector<std::pair<std::size_t, std::size_t>> hashed(entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) hashed[i] = {std::hash<std::string>()(entries[i].name), i};
  std::sort(hashed.begin(), hashed.end(), [&entries](const auto& a, const auto& b) {
    if (a.first != b.first) return a.first < b.first;
    const int order = entries[a.second].name.compare(entries[b.second].name);
    return order != 0 ? order < 0 : a.second < b.second;
  });
  std::vector<std::size_t> dropped;
  for (std::size_t i = 1; i < hashed.size(); ++i) {
    const HeaderEntry& later = entries[hashed[i].second];
    if (hashed[i].first != hashed[i - 1].first || later.name != entries[hashed[i - 1].second].name) continue;
    findings.add({"ST-DUP", Level::kSpec, false,
                  "tensor " + quoted_name(later.name) + " appears twice; the last one counts",
                  std::string(file), later.at});
    dropped.push_back(hashed[i - 1].second);
  }
  if (dropped.empty()) return;
  std::sort(dropped.begin(), dropped.end());
  std::vector<HeaderEntry> kept;
  kept.reserve(entries.size() - dropped.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (!std::binary_search(dropped.begin(), dropped.end(), i)) kept.push_back(std::move(entries[i]));
  }
  entries = std::move(kept);
}

// What the reference accepts in a header, but other readers or people stumble over.
void check_habits(const HeaderEntry& entry, std::uint64_t data_begin, std::string_view file,
                  Findings& findings) {
  const auto odd = [&](std::string_view rule, Level level, std::string message) {
    findings.add({rule, level, true, std::move(message), std::string(file), entry.at});
  };
  if (entry.name.empty()) odd("ST-NAME", Level::kSpec, "a tensor has an empty name");
  const bool has_control = std::any_of(entry.name.begin(), entry.name.end(),
                                       [](char c) { return static_cast<unsigned char>(c) < 0x20; });
  if (has_control)
    odd("ST-NAME", Level::kSpec, "the name " + quoted_name(entry.name) + " holds control characters");
  if (entry.shape.size() > kMaxDimensions) {
    odd("ST-SHAPE", Level::kSpec,
        fmt::format("tensor {} has {} dimensions; many readers stop at {}", quoted_name(entry.name),
                    entry.shape.size(), kMaxDimensions));
  }
  for (const std::uint64_t dimension : entry.shape) {
    if (dimension <= kMaxHubDimension) continue;
    const bool beyond_schema = dimension > kMax48Bits;
    odd(beyond_schema ? "ST-SHAPE" : "ST-HUB", beyond_schema ? Level::kSpec : Level::kHub,
        fmt::format("tensor {} has a dimension of {}", quoted_name(entry.name), dimension));
    break;
  }
  const std::uint64_t alignment = std::max<std::uint64_t>(bits(entry.dtype) / 8, 1);
  if ((data_begin + entry.begin) % alignment != 0) {
    odd("ST-ALIGN", Level::kSpec,
        fmt::format("tensor {} starts at byte {}, not at a multiple of its {} bytes an element",
                    quoted_name(entry.name), data_begin + entry.begin, alignment));
  }
}

// The size the shape asks for against the range the header gives. Nothing to add when they agree.
std::optional<Finding> size_fault(const HeaderEntry& entry, std::string_view file) {
  const ByteSize expected = tensor_bytes(entry.dtype, entry.shape);
  const auto fatal = [&](std::string_view rule, std::string message) {
    return Finding{rule, Level::kLoads, false, std::move(message), std::string(file), entry.at};
  };
  if (expected.status == ByteSizeStatus::kOk && entry.end - entry.begin == expected.bytes)
    return std::nullopt;
  const std::string who = "tensor " + quoted_name(entry.name);
  if (expected.status == ByteSizeStatus::kOverflow) {
    return fatal("ST-OVERFLOW", "the size of " + who + " does not fit 64 bits");
  }
  if (expected.status == ByteSizeStatus::kMisaligned) {
    return fatal("ST-BITS", who + " does not end at a byte: its elements have " +
                                std::to_string(bits(entry.dtype)) + " bits");
  }
  return fatal("ST-RANGE", fmt::format("{} needs {} bytes but data_offsets gives {}", who, expected.bytes,
                                       entry.end - entry.begin));
}

// The reference's loop: sorted by (begin, end), every tensor must start where the one before ended.
void check_tiling(std::vector<HeaderEntry>& entries, SafetensorsHeader& header, std::string_view file,
                  Findings& findings) {
  const auto by_range = [](const HeaderEntry& a, const HeaderEntry& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  };
  const auto unordered = std::is_sorted_until(entries.begin(), entries.end(), by_range);
  if (unordered != entries.end()) {
    findings.add({"ST-ORDER", Level::kSpec, true,
                  "tensor " + quoted_name(unordered->name) +
                      " comes in the header after tensors that follow it in the data",
                  std::string(file), unordered->at});
    std::stable_sort(entries.begin(), entries.end(), by_range);
  }
  const auto fatal = [&](const HeaderEntry& entry, std::string_view rule, std::string message) {
    findings.add({rule, Level::kLoads, false, std::move(message), std::string(file), entry.at});
  };
  std::uint64_t cursor = 0;
  for (HeaderEntry& entry : entries) {
    const std::string_view where = entry.begin > cursor ? "ST-HOLE" : "ST-OVERLAP";
    if (entry.end < entry.begin) {
      fatal(entry, "ST-RANGE", "data_offsets of tensor " + quoted_name(entry.name) + " run backwards");
      continue;
    }
    if (entry.begin != cursor) {
      fatal(entry, where,
            fmt::format("tensor {} starts at {} of the buffer where {} is expected", quoted_name(entry.name),
                        entry.begin, cursor));
    }
    if (std::optional<Finding> fault = size_fault(entry, file)) findings.add(std::move(*fault));
    cursor = std::max(cursor, entry.end);
    const std::optional<std::uint64_t> end = checked_add(header.data_begin(), entry.end);
    if (!end) {
      fatal(entry, "ST-OVERFLOW",
            "data_offsets of tensor " + quoted_name(entry.name) + " do not fit 64 bits");
      continue;
    }
    check_habits(entry, header.data_begin(), file, findings);
    header.tensors.push_back({std::move(entry.name), entry.dtype, std::move(entry.shape), 0,
                              header.data_begin() + entry.begin, entry.end - entry.begin});
  }
  header.data_bytes = cursor;
}

void check_text(std::string_view json, std::string_view file, Findings& findings) {
  const auto odd = [&](std::string_view rule, Level level, std::uint64_t at, std::string message) {
    findings.add({rule, level, true, std::move(message), std::string(file), at});
  };
  if (json.size() % 8 != 0) {
    odd("ST-PAD", Level::kSpec, 0, fmt::format("the header has {} bytes, not a multiple of 8", json.size()));
  }
  if (!json.empty() && json.front() != '{')
    odd("ST-START", Level::kSpec, 8, "the header does not start with '{'");
  const std::size_t last = json.find_last_not_of(" \t\r\n");
  if (last != std::string_view::npos && json.find_first_not_of(' ', last + 1) != std::string_view::npos) {
    odd("ST-PAD", Level::kSpec, 8 + last + 1, "the header is padded with something other than blanks");
  }
  if (json.size() > kMaxHubHeader) {
    odd("ST-HUB", Level::kHub, 0,
        fmt::format("the header has {} bytes; the Hub reads at most {}", json.size(), kMaxHubHeader));
  }
}

void check_format(const std::optional<Metadata>& metadata, std::string_view file, Findings& findings) {
  if (!metadata) return;
  constexpr std::array<std::string_view, 5> kAccepted = {"pt", "tf", "flax", "mlx", "np"};
  const auto format = metadata->find("format");
  const bool known = format != metadata->end() &&
                     std::find(kAccepted.begin(), kAccepted.end(), format->second) != kAccepted.end();
  if (known) return;
  findings.add({"ST-FORMAT", Level::kHub, false,
                format == metadata->end()
                    ? std::string("__metadata__ names no format; loaders expect \"pt\"")
                    : "__metadata__ names an unknown format " + quoted_name(format->second),
                std::string(file)});
}

}  // namespace

std::optional<std::uint64_t> safetensors_header_size(std::string_view start,
                                                     std::optional<std::uint64_t> file_size,
                                                     std::string_view file, Findings& findings) {
  const auto fatal = [&](std::string message) {
    if (std::optional<std::string> foreign = describe_foreign_file(start)) message = std::move(*foreign);
    findings.add({"ST-LEN", Level::kLoads, false, std::move(message), std::string(file), 0});
    return std::nullopt;
  };
  if (start.size() < 8) {
    if (start.empty()) return fatal("the file is empty");
    return fatal(fmt::format("the file has {} where a header needs 8", plural(start.size(), "byte")));
  }
  const auto size = load_le<std::uint64_t>(as_bytes(start).data());
  if (size > kMaxSafetensorsHeader) {
    return fatal(
        fmt::format("the header would have {} bytes, more than the {} that readers allow: this is not a "
                    "safetensors file",
                    size, kMaxSafetensorsHeader));
  }
  if (file_size && (*file_size < 8 || size > *file_size - 8)) {
    return fatal(
        fmt::format("the header should have {} but the file ends {} short of that; fetch or copy it again",
                    plural(size, "byte"), plural(size - (*file_size - 8), "byte")));
  }
  return size;
}

SafetensorsHeader parse_safetensors_header(std::string_view json, std::string_view file, Findings& findings) {
  SafetensorsHeader header;
  header.header_bytes = json.size();
  if (const std::optional<std::size_t> bad = find_invalid_utf8(json)) {
    findings.add({"ST-UTF8", Level::kLoads, false, "the header is not UTF-8", std::string(file), 8 + *bad});
    return header;
  }
  HeaderEntries entries = parse_header_entries(json, file, findings);
  check_text(json, file, findings);
  header.metadata = std::move(entries.metadata);
  check_format(header.metadata, file, findings);
  drop_repeated_names(entries.tensors, file, findings);
  header.tensors.reserve(entries.tensors.size());
  check_tiling(entries.tensors, header, file, findings);
  return header;
}

void check_safetensors_size(const SafetensorsHeader& header, std::uint64_t file_size, std::string_view file,
                            Findings& findings) {
  const std::optional<std::uint64_t> expected = checked_add(header.data_begin(), header.data_bytes);
  if (expected == file_size) return;
  const auto fatal = [&](std::string message, std::uint64_t at) {
    findings.add({"ST-SIZE", Level::kLoads, false, std::move(message), std::string(file), at});
  };
  if (expected && *expected < file_size) {
    return fatal(fmt::format("the file goes on for {} bytes after the last tensor", file_size - *expected),
                 *expected);
  }
  const auto is_cut = [file_size](const Tensor& tensor) {
    return tensor.size > 0 && (tensor.offset > file_size || file_size - tensor.offset < tensor.size);
  };
  // Tensors lie in the order of the list, so those before the first that is cut survive.
  const auto first = std::find_if(header.tensors.begin(), header.tensors.end(), is_cut);
  const std::string survivors =
      first == header.tensors.end()
          ? "all"
          : fmt::format("{} before '{}'",
                        group_digits(static_cast<std::uint64_t>(first - header.tensors.begin())),
                        escape_name(first->name));
  fatal(fmt::format("the file ends {} early: of {} {} survive; fetch or copy it again",
                    plural(expected ? *expected - file_size : 0, "byte"),
                    plural(header.tensors.size(), "tensor"), survivors),
        file_size);
}

}  // namespace mu
