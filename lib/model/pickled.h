// SPDX-License-Identifier: Apache-2.0
// What the pickled files of a run are (optimizer.pt, scheduler.pt, rng_state.pth, training_args.bin …) and
// what they say, as values a person or a program can read. Nothing is unpickled.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "weights/torch/file.h"

namespace mu {

enum class PickledKind : std::uint8_t {
  kStateDict,           // tensors by name, nothing else of weight
  kTrainingCheckpoint,  // a state dict beside epoch, optimizer …
  kOptimizer,
  kScheduler,
  kScaler,
  kRng,
  kTrainingArguments,
  kModule,  // a whole pickled torch.nn.Module
  kScript,  // TorchScript
  kOther,
};
PickledKind pickled_kind(const TorchObject& object);
std::string_view pickled_kind_name(PickledKind kind);  // "optimizer state"

struct PickledField {
  std::string name;
  PickleId value;
};
// The entries of the root: of a dict its items, of an object its attributes. In their order, the last of
// equal names; at most kMaxPickledFields. Empty for what is neither or was broken.
inline constexpr std::size_t kMaxPickledFields = 50'000;
std::vector<PickledField> pickled_fields(const TorchObject& object);

// Python's name of the type, without module: "float", "str", "IntervalStrategy", "Tensor".
std::string python_type(const Pickle& pickle, PickleId id);

// The value on one line as Python's repr would show it, enums as their value, at most `limit` bytes before an
// ellipsis. Texts are quoted and escaped.
std::string python_value(const Pickle& pickle, PickleId id, std::size_t limit);

// The value of a member of an enum (Class(value), or the name in getattr(Class, 'NAME')); `id` itself for
// anything else.
PickleId enum_value(const Pickle& pickle, PickleId id);

// The value as a script wants it: a text or the text of an enum verbatim, anything else as python_value; at
// most `limit` bytes before an ellipsis.
std::string plain_value(const Pickle& pickle, PickleId id, std::size_t limit);

// True when a value of that name gives access to something: tokens, keys, passwords, whatever their type. Such
// values are shown as "***". None, booleans and empty texts are not secrets.
bool is_secret(const Pickle& pickle, std::string_view name, PickleId value);

// The class of the root object, "trl.trainer.sft_config.SFTConfig"; empty for plain values.
std::string root_class(const TorchObject& object);

}  // namespace mu
