// SPDX-License-Identifier: Apache-2.0
// Tied tensors: a model knows one tensor by several names, as input and output embedding above all. Transformers
// saves it once, under the name that its rule calls the source, and puts the other names back when it loads. It
// does so only where a rule of the model's class says so and the config switches that rule on (tie_table.h).
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/error.h"
#include "model/config.h"
#include "model/tie_table.h"
#include "weights/weights.h"

namespace mu {

struct TiedName {
  std::string dropped;        // "lm_head.weight"
  std::string kept;           // "model.embed_tokens.weight"
  bool same_storage = false;  // the input stores both as one
  bool is_assumed = false;    // only some bytes of both were compared (see TieReading)
};

// The bytes of a tied pair differ though they were assumed to be the same. The plan has to be made anew.
struct TieDiffers : Error {
  explicit TieDiffers(std::string name);
  std::string dropped;
};

// How the bytes of tied names are compared. On another machine these are a large part of a model, and are read when it
// is written anyway: whoever compares them then (Prepared::tied, TieDiffers) may assume that they are the same if the
// first, the last and some in the middle are.
struct TieReading {
  bool assumes = false;
  std::set<std::string> except{};  // by TiedName::dropped: read as a whole all the same
};

// The rules of a model, for the names in its weights.
class Ties {
 public:
  Ties() = default;  // ties nothing
  Ties(const std::optional<ModelConfig>& config, const Weights& weights);
  Ties(TieRules rules, std::vector<std::string> names);

  // The stored tensor that `name`, stored or not, repeats by a rule; empty if there is none.
  [[nodiscard]] std::string kept_name_of(std::string_view name) const;
  // The pairs of which both names are stored. Their bytes may differ: then loaders tie them not.
  [[nodiscard]] std::vector<TiedName> pairs() const;
  // The names that repeat `name`, as files with such a name spell them; stored or not.
  [[nodiscard]] std::vector<std::string> names_tied_to(std::string_view name) const;
  // All pairs that a config which ties nothing would need in the file, but of which the first is not stored.
  // Nothing where the config can't switch the rules off.
  [[nodiscard]] std::optional<std::vector<TiedName>> names_to_untie() const;
  // The tensors that the config leaves untied and that the weights lack.
  [[nodiscard]] std::vector<std::string> missing() const;
  [[nodiscard]] bool any_on() const;
  // Why there is no rule for a name: a clause.
  [[nodiscard]] const std::string& why() const { return rules_.why; }

 private:
  [[nodiscard]] std::string source_of(std::string_view name) const;

  TieRules rules_;
  std::vector<std::string> names_;
  std::unordered_set<std::string> stored_;                             // the same names
  std::unordered_map<std::string, std::vector<std::string>> numbers_;  // by target: what "#" stands for in it
};

// The text of a config with all its rules switched off; everything else stays byte for byte.
std::string with_untied_embeddings(const ModelConfig& config);

// The names of a model under which one tensor is stored, and what else is to be said about them.
struct FoundTies {
  std::vector<TiedName> tied;      // written once
  std::vector<std::string> notes;  // on those that are written twice
};

// Two names are tied where a rule ties them and their bytes are the same; reads these. Names of one storage
// that no rule ties, and tied names whose bytes differ, are named in the notes.
FoundTies find_tied(const std::optional<ModelConfig>& config, const Weights& weights,
                    const TieReading& reading = {});

// The tensor of `kept`, which compares itself with that of `dropped` as it is read, and throws TieDiffers.
Tensor compared_as_read(const Tensor& kept, const Tensor& dropped);

}  // namespace mu
