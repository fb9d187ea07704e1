// SPDX-License-Identifier: Apache-2.0
// A quantised model made plain: for each weight that is stored in few bits, the tensor that the reference library of
// its method would make of it, in bf16, f16 or f32, computed while it is read. Config and names of tensors are asked
// both, and must agree. First everything is checked from headers and small tensors; only then does the list change.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/input.h"
#include "weights/quant/stored.h"

namespace mu {

struct PlainModel {
  struct Weight {
    std::size_t stored;  // index of the tensor in whose place it stands
    Tensor plain;
    std::uint64_t stored_bytes;  // of all tensors that belong to it
  };
  std::string method;  // "fp8", "bitsandbytes"; "comfy" for files of ComfyUI, which have no name for it
  Dtype target = Dtype::kBF16;
  std::vector<Weight> weights;    // in the order of the input's list
  std::vector<std::size_t> gone;  // tensors of the list that mean nothing without the stored weights; sorted

  [[nodiscard]] std::uint64_t stored_bytes() const;  // of the quantised weights and what belongs to them
  [[nodiscard]] std::uint64_t plain_bytes() const;   // of the plain ones
};

// Whether configs or tensors say that weights are quantised.
bool is_quantised(const Input& input);

// What --dequantize= takes: bf16, f16 or f32. Throws kUsage for others.
Dtype parse_plain_dtype(std::string_view text);

// Why the quantised weights can't be made plain here, judged by settings, names and the first of them; empty: nothing
// speaks against it.
std::string plain_objection(const Input& input);

// What the quantised weights of `input` are when plain; its tensors have the names without wrappers. Without a target
// the config's dtype counts, else it is bf16. Throws kRefused if nothing is quantised, if config and tensors disagree,
// and for methods and kinds of storage that can't be made plain here; kMalformed for tensors that are missing, or
// don't fit. Reads small tensors.
PlainModel plan_plain(const Input& input, std::optional<Dtype> target);

// What was done, in numbers.
struct PlainFacts {
  std::string method, format;  // "bitsandbytes", "nf4"; the format is empty where the method has one
  Dtype dtype = Dtype::kBF16;
  std::uint64_t weights = 0, stored_bytes = 0, plain_bytes = 0;
};

// What else changes with the tensors.
struct PlainChange {
  PlainFacts facts;
  std::string line;                   // the same in words, which follow the name of the input
  std::string advice{};               // what else the user may have wanted; empty: nothing
  std::vector<ConfigEdit> config;     // quantization_config goes, and dtype is set
  std::vector<std::string> metadata;  // keys of headers that go
  std::string recipe;                 // what decides the values, beside the files of weights
};

// "bitsandbytes nf4", escaped: formats are what configs call them.
std::string scheme_text(const PlainFacts& facts);

// Replaces the tensors, and forgets that the input was quantised.
PlainChange make_plain(Input& input, PlainModel plan);

}  // namespace mu
