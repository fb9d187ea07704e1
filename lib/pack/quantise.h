// SPDX-License-Identifier: Apache-2.0
// --quantize: the tensors that are to be written become those of a quantised model, and the config says so. Nothing
// is read: codes and scales are computed as they are written (weights/quant/).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/glob.h"
#include "model/input.h"
#include "model/tied.h"
#include "pack/names.h"
#include "pack/quant_scheme.h"
#include "pack/select.h"
#include "weights/quant/encoded.h"

namespace mu {

struct QuantizeOptions {
  QuantScheme scheme = QuantScheme::kFp8Dynamic;
  std::vector<Glob> keep{};  // modules that stay as they are, by the names that are written
  bool measure = false;      // find the error of each module while it is written
};

struct QuantizePlan {
  struct Module {
    std::string name;
    std::shared_ptr<QuantError> error;  // null: not measured
  };
  struct Left {
    std::string name;
    std::string reason;
    std::uint64_t bytes;  // 0: only a name of another tensor
    bool is_matrix;       // the config names it
  };
  QuantScheme scheme = QuantScheme::kFp8Dynamic;
  std::vector<Module> modules;                // quantised
  std::vector<Left> left;                     // what stays as it is, in natural order
  std::vector<std::string> plain;             // modules with a matrix that stays, as the config names them
  std::uint64_t bytes_before = 0, bytes = 0;  // of all tensors
  std::string config;                         // the value of quantization_config
};

// What --quantize looks at besides the tensors.
struct QuantizeContext {
  const Input& input;
  const NamesOptions& names;
  std::vector<std::string> tied;  // names that repeat tensors and are not written
};

// Changes the list, which has its last names and types. `made` gets what the new ones are. Throws kRefused for what is
// quantised already, for shapes that the scheme does not take, for experts whose layout is not known or whose names
// must stay, and if nothing is left to quantise.
QuantizePlan quantise_tensors(std::vector<PackedTensor>& tensors, const QuantizeOptions& options,
                              const QuantizeContext& context, std::vector<MadeTensors>& made);

// What the config gets.
ConfigEdit quantize_edit(const QuantizePlan& plan);

// For the fingerprint of parts: what decides the bytes.
std::string quantize_recipe(const QuantizeOptions& options);

// Those of --keep that match no module of the plan.
std::vector<std::string> unmatched_keeps(const QuantizePlan& plan, const std::vector<Glob>& keep);

}  // namespace mu
