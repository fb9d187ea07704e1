// SPDX-License-Identifier: Apache-2.0
// A quantised model in a few numbers, for somebody who looks at it: how it is stored, in how many bits a weight, and how
// large it is when plain. Headers say nearly all of this, so a model is summed up whether or not it can be made plain,
// and whatever is torn in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/input.h"

namespace mu {

// A weight and what belongs to it.
struct QuantModule {
  std::size_t weight;                     // index in the list of tensors
  std::vector<std::size_t> companions{};  // likewise
  std::string name{};                     // of the plain weight: "model.layers.0.mlp.up_proj.weight"
  std::uint64_t bytes = 0;                // of all its tensors
  std::uint64_t values = 0;               // that it has when plain; 0: not known
  std::vector<std::uint64_t> shape{};     // of the plain weight; [values] where headers don't say it

  [[nodiscard]] double bits() const;  // a value; 0: not known
};

struct QuantSummary {
  std::string method;  // "compressed-tensors"; empty: nothing says it
  std::string format;  // "nvfp4-pack-quantized", "block 128x128", "nf4"; empty: the method has one
  std::vector<QuantModule> modules;
  std::uint64_t matrices = 0;  // the modules, and plain matrices of floating types
  // Of the whole model when plain; 0 if the values of some module are not known.
  std::uint64_t plain_parameters = 0, plain_bytes = 0;
  Dtype target = Dtype::kBF16;  // of its plain weights

  // Of the modules, all that belongs to them counted; nothing if it is not known.
  [[nodiscard]] std::optional<double> effective_bits() const;
};

// The method of files whose config does not name one, by marks that no other leaves; empty: there are none. What is
// called weight_scale may be anybody's.
std::string_view method_by_marks(const Input& input, const std::vector<QuantPart>& parts);

// Whether scales and other small tensors can be read: not where a stream's data were not kept.
bool has_data(const Weights& weights);

// Nothing if no tensor is quantised. Throws nothing for what is torn, and reads at most some small tensors.
std::optional<QuantSummary> sum_up_quantised(const Input& input);

}  // namespace mu
