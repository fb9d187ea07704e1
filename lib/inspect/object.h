// SPDX-License-Identifier: Apache-2.0
// Views of what a torch file or pickle holds beside its tensors: the tree of its values, the arguments of a
// run, the state of an optimizer.
#pragma once

#include <cstdint>
#include <string>

#include "base/json_write.h"
#include "model/input.h"
#include "model/pickled.h"

namespace mu {

// The object to show in place of a list of tensors, or null when the input is a set of weights: a state dict
// alone, or no pickle at all.
const TorchObject* shown_object(const Input& input);

// The whole object as a tree, folded like tensor names are; down to `depth` levels (0: all), `width` columns
// wide (0: any). Never more than some thousand lines.
std::string object_tree_text(const TorchObject& object, std::size_t depth, std::size_t width);

// A screen on the object, without its first line.
std::string object_overview_text(const Input& input, const TorchObject& object, std::size_t width);

// Its fields, name, type and value, one a line.
std::string object_fields_text(const TorchObject& object);
// One of them as a script wants it. Throws kAnswerNo when there is none.
std::string object_field_text(const TorchObject& object, std::string_view name);

// Member "object" of the JSON report: kind, class and fields with their types and values; nothing without a
// pickle.
void write_object(JsonWriter& json, const Input& input);

}  // namespace mu
