// SPDX-License-Identifier: Apache-2.0
// One weight that is stored quantised, and what it is when plain. Each method of quantisation has a file here: a
// function looks at what is stored of a weight and at what the config says, checks that they fit, and says how the
// plain values are made. Nothing large is read until somebody reads the plain tensor.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "weights/computed.h"
#include "weights/weights.h"

namespace mu {

// The tensors that belong to one weight, as the files have them. Borrowed.
struct StoredWeight {
  std::string module;                       // "model.layers.0.mlp.up_proj"
  const Tensor* weight = nullptr;           // the one with the few bits, whatever its ending
  std::vector<const Tensor*> companions{};  // scales, zero points, tables, permutations, markers

  // The companion that is called `module` and this ending (".weight_scale"), or null.
  [[nodiscard]] const Tensor* find(std::string_view ending) const;
  // The same. Throws kMalformed if there is none.
  [[nodiscard]] const Tensor& require(std::string_view ending) const;
};

// Fills `out` with elements [first, first + out.size()) of the plain tensor, row-major, each rounded as the reference
// rounds it before the last rounding, which is to the type that is wanted. Thread safe.
using PlainValues = std::function<void(const Sources& sources, std::uint64_t first, std::span<float> out)>;

struct PlainWeight {
  std::string name;                  // of the plain tensor: "model.layers.0.mlp.up_proj.weight"
  std::vector<std::uint64_t> shape;  // [out, in], or more dimensions for experts
  std::vector<Tensor> sources;       // what `values` reads, by number: tensors of the files, or views of them
  PlainValues values;
};

// What a method looks at.
struct QuantContext {
  const Weights& weights;     // the small tensors can be read (JSON, shapes, permutations)
  const JsonValue& settings;  // quantization_config, or null where the files alone say it
  Dtype target;               // bf16, f16 or f32: of the plain tensor
};

// A method. Throws kMalformed for tensors that are missing or don't fit, kRefused for a kind of storage that can't be
// made plain here; the message names the tensor, the caller adds the file.
using MakePlain = PlainWeight(const StoredWeight&, const QuantContext&);

// A method whose settings are read once, for the weights of one set.
using PlainOf = std::function<PlainWeight(const StoredWeight&)>;

// The tensor of type `target`, in the place of `stored`: its values are rounded to it once.
Tensor plain_tensor(PlainWeight weight, Dtype target);

// A plain matrix with rows and columns exchanged. Its values are made along rows, so many columns are read at once.
Tensor turned(const Tensor& plain);

}  // namespace mu
