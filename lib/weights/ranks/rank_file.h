// SPDX-License-Identifier: Apache-2.0
// What the readers of checkpoints that ranks wrote have in common.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "weights/pickle/pickle.h"
#include "weights/torch/file.h"
#include "weights/weights.h"

namespace mu {

// kMalformed with the rule after the message: "… [ZR-COUNT]".
Error rule_error(std::string_view rule, std::string message);

// Throws kMalformed when the pickle names something dangerous to load.
void require_harmless(const Pickle& pickle);

// The torch zip that a rank's file is. Throws kMalformed, with a rule of `prefix`: PREFIX-TORN when it is empty or
// cut, PREFIX-KIND when it is something else.
TorchArchive open_rank_archive(const InputFile& file, std::string_view prefix, Findings& findings);

// The step that an entry of an optimizer counts: a number, or a tensor that holds one. Nothing for anything else.
std::optional<double> optimizer_step(const Pickle& pickle, PickleId entry, TorchStorages& storages,
                                     const InputFile& file);

// Adds a file without tensors to the set. Beyond some dozens, files give their descriptors back.
void add_rank_file(Weights& weights, InputFile file);

}  // namespace mu
