// SPDX-License-Identifier: Apache-2.0
// modules_to_save of an adapter: the modules that were trained whole. PEFT takes each module of the model whose path
// ends with one of these texts, and loads no adapter that lacks a tensor of such a module. Source: PEFT 0.21.2,
// _set_trainable (utils/other.py) and set_peft_model_state_dict (utils/save_and_load.py).
#pragma once

#include "lora/merge_base.h"
#include "model/names_in_base.h"

namespace mu {

// Compares modules_to_save with what the adapter holds, after merging. Throws kMalformed if it lacks a module that it
// must have been trained with. Notes modules that the trained model may not have had, and names that PEFT passes over.
void check_saved_modules(MergeBase& base, const Adapter& adapter, const NamesInBase& names);

}  // namespace mu
