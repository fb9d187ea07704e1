// SPDX-License-Identifier: Apache-2.0
// Under which names st-pack writes a model (--names, --experts). What a process of transformers saves on its own
// (state_dict(), and so distributed checkpoints, DeepSpeed, FSDP) has the names of the model in memory; loaders and
// servers know those that save_pretrained publishes (model/tensor_names.h). Renaming twice would ruin them, so it is
// decided first, once, from all names of the input, which of the two they are.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/input.h"
#include "model/tensor_names.h"
#include "pack/select.h"

namespace mu {

struct NamesOptions {
  enum class Mode : std::uint8_t {
    kAsIs,       // as they stand
    kAuto,       // memory's become published ones where nothing is in doubt, else they stay
    kPublished,  // the same, and doubt is an error
  } mode = Mode::kAsIs;
  // Demanded whatever the names are: experts one by one, under published names, or stacked, under memory's.
  enum class Experts : std::uint8_t { kSplit, kStack };
  std::optional<Experts> experts{};

  [[nodiscard]] bool looks() const { return mode != Mode::kAsIs || experts; }
  [[nodiscard]] bool demands() const { return mode == Mode::kPublished || experts; }
};

// What the decision goes by.
struct NameFacts {
  enum class Class : std::uint8_t {
    kNone,     // no config names one, and the model type does not tell
    kOwnCode,  // it comes with its own code (auto_map)
    kUnknown,  // this transformers has no such class
    kPlain,    // its names are the same on both sides
    kUntold,   // nobody can tell whose its names are
    kRenames,
  } of = Class::kNone;
  std::string name{};         // of the class, or of the model type
  bool converts = false;      // it also splits or joins values
  bool is_whole = false;      // a folder or a set of files, with a config of its own
  bool is_adapter = false;    // an adapter, or tensors of one are among the names
  bool is_quantised = false;  // its configs say so
  TensorNames::Counts counts{};
};

// Looks at all names of an input, without wrappers. `names` are those of its class; null: it has none to rename.
NameFacts name_facts(const Input& input, const TensorNames* names);

enum class NameChange : std::uint8_t { kNone, kToPublished, kToMemory };

struct NameDecision {
  NameChange change = NameChange::kNone;
  std::string left{};  // why names stay, if somebody may have expected other ones
};

// Throws kMalformed where the options demand what can't be done, kRefused for quantised weights.
NameDecision decide_names(const NamesOptions& options, const NameFacts& facts);

// What was found and done, for people and --json.
struct NamesReport {
  std::string side;              // side_text()
  TensorNames::Counts counts{};  // of all names of the input
  NameChange change = NameChange::kNone;
  // Of the tensors that were chosen: how many changed their names, how many there were, and how many there are now.
  std::uint64_t changed = 0, before = 0, after = 0;
  std::string line{};  // the same as a sentence; empty where there is nothing to say
};

// Tensors that are made of others. Whoever reads them keeps this.
using MadeTensors = std::shared_ptr<const std::vector<Tensor>>;

// Decides, and gives the chosen tensors their names; `made` gets those that are parts of others, or joined. Absent if
// names are not looked at. Throws as decide_names does, and kMalformed where a part of a stack is missing.
std::optional<NamesReport> name_tensors(std::vector<PackedTensor>& chosen, const Input& input,
                                        const NamesOptions& options, MadeTensors& made);

// "memory", "published", "neutral", "mixed", "foreign" or "unknown": whose the names are, as --json says it.
std::string side_text(const NameFacts& facts);

}  // namespace mu
