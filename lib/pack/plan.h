// SPDX-License-Identifier: Apache-2.0
// What st-pack will do, exact to the byte, before anything is written: a pure function of the opened input
// and the options. --dry-run prints it, --json serialises it, write.h carries it out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/part.h"
#include "model/input.h"
#include "model/prepare.h"
#include "pack/gather.h"
#include "pack/metadata.h"
#include "pack/names.h"
#include "pack/quantise.h"
#include "pack/select.h"

namespace mu {

// A small file whose text is already known: the index, an edited config.
struct TextOutput {
  std::string name;
  std::string text;
};

inline constexpr std::uint64_t kDefaultShardSize = 5'000'000'000;  // bytes; huggingface_hub's "5GB"

struct PackOptions {
  Selection selection;
  NamesOptions names{};
  std::optional<QuantizeOptions> quantize{};         // of the model in the folder itself
  std::uint64_t max_shard_size = kDefaultShardSize;  // 0: no limit
  MetadataChanges metadata;                          // --metadata
  bool weights_only = false;
  std::vector<TextOutput> texts{};     // files of the output folder, with their text
  std::vector<FileRole> left_roles{};  // files of the input folder with these roles are not taken
};

enum class OutputKind : std::uint8_t { kFolder, kSafetensors, kNpy, kStream };

// One file of weights to be written: `prefix`, then the tensors without gaps.
struct WeightsOutput {
  std::string name;                   // in the folder; empty for a single file
  const Weights* from = nullptr;      // what the tensors are read from; borrowed from the input
  std::string prefix;                 // length and header
  std::vector<PackedTensor> tensors;  // in file order
  std::uint64_t size = 0;             // bytes of the whole file
  std::vector<MadeTensors> made{};    // some of the tensors are borrowed from these

  // What a tensor of it is called in messages: that of a component begins with the folder.
  [[nodiscard]] std::string label(const PackedTensor& tensor) const;
};

// The plan that this plan is one part of (part.h).
struct PlannedPart {
  Part number;
  std::string fingerprint;
};

struct PackPlan {
  OutputKind kind = OutputKind::kFolder;
  std::vector<WeightsOutput> weights;
  std::vector<TextOutput> texts;         // for a folder: the config if it changed, then the index
  std::vector<GatheredFile> files;       // for a folder: copied (taken) and left
  std::vector<TiedName> dropped;         // tied names that are written once
  std::vector<std::string> notes;        // what the user should know
  std::vector<std::string> warnings{};   // the same, before anything is written
  std::vector<std::string> announced{};  // what is done with names, before anything is written
  std::optional<NamesReport> names{};    // of the model in the folder itself; absent: as they are, unseen
  std::vector<std::pair<std::string, NamesReport>> component_names{};  // by folder
  std::vector<std::pair<std::string, PlainFacts>>
      plain{};  // what was dequantised, by folder; "": the input itself
  std::string
      recipe{};  // what decides the values that are computed, beside the files of weights; empty: none are
  std::optional<Dtype> dtype{};  // that the config gets
  std::optional<QuantizePlan> quantize{};
  std::uint64_t total_bytes = 0;  // to be written
  std::optional<PlannedPart> part{};

  [[nodiscard]] std::uint64_t tensor_count() const;
};

// Plans the output of `input`, as it and its components were prepared. The selection acts on the model in the
// folder itself; components are taken whole, but cast alike. Throws kRefused, kMalformed or kUsage before
// anything happens.
PackPlan plan_pack(const Input& input, const Prepared& prepared, const PackOptions& options, OutputKind kind,
                   const std::vector<Prepared>& components = {});

}  // namespace mu
