// SPDX-License-Identifier: Apache-2.0
// What a user of st-pack can say.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/part.h"
#include "cli/app.h"
#include "model/fingerprint.h"
#include "model/input.h"
#include "pack/plan.h"

namespace mu {

struct StPackOptions {
  std::vector<std::string> inputs;
  std::optional<std::string> output, names_from, max_shard_size, from, base, key;
  NamesOptions names{.mode = NamesOptions::Mode::kAuto, .experts = {}};
  std::optional<Part> part;
  KnownBy known_by = KnownBy::kTime;
  std::vector<std::string> dtypes, select, exclude, rename, metadata, adapters, keep;
  std::optional<QuantScheme> quantize{};
  bool dequantize = false;             // also where --adapter needs it
  std::optional<Dtype> plain_dtype{};  // nothing: the config's
  bool weights_only = false, verify = false, force = false, salvage = false;
  CommonOptions common;
  RemoteOptions remote;
};

// Throws kUsage.
StPackOptions parse_pack_options(int argc, char** argv);

// How the input is packed.
PackOptions pack_options(const StPackOptions& options, OutputKind kind);

// How a folder as input is opened.
FolderOptions folder_options(const StPackOptions& options);

}  // namespace mu
