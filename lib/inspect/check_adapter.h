// SPDX-License-Identifier: Apache-2.0
// --check --base: what an adapter would change in a base model, and why it would change less than it should. A server
// passes over modules that it does not find and serves the base, so each of them is a finding.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/finding.h"
#include "base/json_write.h"
#include "model/input.h"
#include "model/names_in_base.h"

namespace mu {

struct AdapterCheck {
  std::string adapter, base;  // as given
  Findings findings;          // AD-NAMES, AD-SHAPE, AD-RANK, AD-NOOP
  struct Note {
    std::string rule, message;  // "AD-PARTIAL"; most notes have no rule
  };
  std::vector<Note> notes;
  NamesInBase::Way way = NamesInBase::Way::kAsIs;
  std::uint64_t modules = 0, changed = 0;  // of the adapter, and those that change something
  std::uint64_t parameters = 0;            // of the base that change
  std::uint64_t rows = 0, whole = 0;       // embeddings that get trained rows, tensors that are replaced
  std::uint64_t added = 0;                 // tensors that the base lacks, such as the head for a task
};

// Of the base only names and shapes are looked at; of the adapter no more than shows that it does something. Throws
// kMalformed for what is not a LoRA adapter, and for a base that is not a model.
AdapterCheck check_adapter(const Input& adapter, const Input& base);

// The answer: true if all of the adapter is applied, and changes something.
bool is_applied(const AdapterCheck& check);

// A line for each finding and each note, then one that says what will change.
std::string adapter_check_text(const AdapterCheck& check);

// The member "base" of the JSON document.
void write_adapter_check(JsonWriter& json, const AdapterCheck& check);

}  // namespace mu
