// SPDX-License-Identifier: Apache-2.0
// What a user of lora-extract can say.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/app.h"
#include "lora/pair_part.h"
#include "lora/server.h"
#include "pack/plan.h"
#include "pack/write_options.h"

namespace mu {

struct LoraExtractOptions {
  std::vector<std::string> operands;
  std::string output;
  std::string adapter, base_id;
  std::optional<double> alpha;
  std::optional<Dtype> dtype;
  bool force = false, verify = false, weights_only = false;
  std::optional<Server> server;  // whose form OUT gets
  // Between two models; `base` alone is that of the server.
  std::optional<std::string> base, tuned;
  PairOptions pair;
  RankChoice rank;
  std::optional<double> tolerance;
  std::string kernel = "auto";
  // Adapters without a base.
  std::optional<std::size_t> resize;
  bool compare = false;
  bool exact = false;
  std::optional<Part> part;
  KnownBy known_by = KnownBy::kTime;
  CommonOptions common;
  RemoteOptions remote;
};

// Throws kUsage.
LoraExtractOptions parse_lora_options(int argc, char** argv);

// How the adapter's folder is packed.
PackOptions lora_pack_options(const LoraExtractOptions& options, std::string config_text);

// How that plan of it is carried out. `recipe` says what decides the values of tensors that are computed.
WriteOptions lora_write_options(const LoraExtractOptions& options, const PackPlan& plan, const Input& input,
                                std::string_view recipe);

// Names and bytes of what a plan writes.
std::vector<std::pair<std::string, std::uint64_t>> written_files(const PackPlan& plan);

// Opens BASE or TUNED.
Input open_model(const std::string& path);

// --base and --tuned.
int extract_pair_mode(const LoraExtractOptions& options);
// --resize N ADAPTER, --compare A B.
int resize_mode(const LoraExtractOptions& options);
int compare_mode(const LoraExtractOptions& options);

}  // namespace mu
