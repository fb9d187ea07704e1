// SPDX-License-Identifier: Apache-2.0
// Views of what a torch file or pickle holds besides tensors: the tree of its values, the arguments of a run,
// the state of an optimizer.
#pragma once

#include <cstdint>
#include <string>

#include "base/json_write.h"
#include "model/input.h"
#include "model/pickled.h"

namespace mu {

// The object to show instead of a list of tensors, or null if the input is a set of weights: only a state
// dict, or no pickle at all.
const TorchObject* shown_object(const Input& input);

// The whole object as a tree, folded like tensor names, down to `depth` levels (0: all) and `width` columns
// wide (0: any). At most some thousand lines.
std::string object_tree_text(const TorchObject& object, std::size_t depth, std::size_t width);

// A screen about the object, without its first line.
std::string object_overview_text(const Input& input, const TorchObject& object, std::size_t width);

// The fields of the object, one a line: name, type and value.
std::string object_fields_text(const TorchObject& object);
// The value of one field as a script wants it. Throws kAnswerNo if there is none.
std::string object_field_text(const TorchObject& object, std::string_view name);

// Writes the member "object" of the JSON report: kind, class, and fields with their types and values. Writes
// nothing if there is no pickle.
void write_object(JsonWriter& json, const Input& input);

}  // namespace mu
