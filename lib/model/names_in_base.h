// SPDX-License-Identifier: Apache-2.0
// What a base calls the tensors that an adapter is for. Adapters name modules as the model class does that was
// trained; the files of a base have published names, may lack the first component or have one more, or belong to a
// model of which the trained one is a part.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "model/tensor_names.h"

namespace mu {

class NamesInBase {
 public:
  enum class Way : unsigned char {
    kAsIs,       // they are the base's
    kPublished,  // the base has published names
    kMemory,     // the adapter has published names, the base memory's
    kText,       // an adapter of a text model, in the language model of a multimodal base
    kWithout,    // the base lacks the first component, prefix()
    kWith,       // the base has one more, prefix()
  };

  NamesInBase() = default;  // as they are
  // `names` for kPublished and kMemory; for kText, if its names are to be published too.
  NamesInBase(Way way, std::shared_ptr<const TensorNames> names, std::string prefix = {})
      : way_(way), names_(std::move(names)), prefix_(std::move(prefix)) {}
  // kWith: only names that begin with one of these components get the prefix.
  NamesInBase(std::string prefix, std::set<std::string> tops)
      : way_(Way::kWith), prefix_(std::move(prefix)), tops_(std::move(tops)) {}

  // The name in the base of a tensor: "model.layers.0.self_attn.q_proj.weight", "….mlp.experts.gate_up_proj". Of a
  // stack that the base keeps apart, the name of the first part, with "*" for the number of the expert.
  [[nodiscard]] std::string operator()(std::string_view name) const { return renamed(name).name; }

  // The same, with the conversion that lies between the two tensors.
  [[nodiscard]] RenamedTensor renamed(std::string_view name) const;

  [[nodiscard]] Way way() const { return way_; }
  [[nodiscard]] const std::string& prefix() const { return prefix_; }  // with its dot
  [[nodiscard]] const std::shared_ptr<const TensorNames>& table() const { return names_; }
  // What differs, as a sentence; empty for names as they are.
  [[nodiscard]] std::string note() const;

 private:
  [[nodiscard]] std::string in_language_model(std::string_view name) const;

  Way way_ = Way::kAsIs;
  std::shared_ptr<const TensorNames> names_;
  std::string prefix_;
  std::set<std::string> tops_;
};

}  // namespace mu
