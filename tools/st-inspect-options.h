// SPDX-License-Identifier: Apache-2.0
// What a user of st-inspect can say.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/finding.h"
#include "base/glob.h"
#include "base/part.h"
#include "cli/app.h"
#include "inspect/listing.h"
#include "tensor/dtype.h"

namespace mu {

// What --tree and --metadata mean without a value.
inline constexpr std::string_view kAllKeys = "*";

struct InspectOptions {
  std::vector<std::string> paths, filters, maps;
  bool tensors = false, names = false, header = false, stats = false, hash = false, diff = false,
       ignore_dtype = false, names_as_is = false, combine = false, dequantize = false;
  std::optional<std::string> tree, metadata, check, base, print, sort, fail_on, rtol, atol;
  CommonOptions common;
  std::optional<Part> part;
  std::optional<Dtype> plain_dtype;  // of --dequantize; nothing: what the config says
  // Derived.
  std::vector<Glob> globs;
  SortKey sort_key = SortKey::kOffset;
  Level level = Level::kSpec;
  std::size_t depth = 0;
  bool fail_on_nan = false, fail_on_inf = false;
};

// How many views are asked for; 0 means the overview. --stats, --hash and --check count as one.
int views_of(const InspectOptions& options);

// Throws kUsage for options that make no sense together or exclude one another.
InspectOptions parse_inspect_options(int argc, char** argv);

// Fills in what follows from the options; call it again after changing them. Throws kUsage.
void derive(InspectOptions& options);

}  // namespace mu
