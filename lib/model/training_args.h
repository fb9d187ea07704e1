// SPDX-License-Identifier: Apache-2.0
// training_args.bin: the arguments a run was started with, as TrainingArguments of Transformers or a subclass
// (trl's SFTConfig …) pickled them. Read as inert data: nothing is imported or run.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/pickled.h"

namespace mu {

class TrainingArguments {
 public:
  static constexpr std::uint64_t kMaxBytes = 4U << 20;  // of such a file; real ones have 5 to 8 KB

  // Throws kIo, and kMalformed for a file that is too large, broken, or holds something else.
  static TrainingArguments read(const std::string& path);
  // The same of a file that is open already.
  static TrainingArguments read(InputFile file);

  std::string class_name;  // "trl.trainer.sft_config.SFTConfig"

  // Every argument the file holds, in its order; what __init__ added ("_n_gpu") is left out.
  [[nodiscard]] std::vector<std::string> names() const;

  // Values by the name of the argument; nothing when it is absent, None, or of another type.
  // A text, or the value of an enum ("steps" of an IntervalStrategy); its name ("STEPS") when the pickle holds
  // only that. Whole secrets, and tokens inside other texts, read "***".
  [[nodiscard]] std::optional<std::string> text(std::string_view name) const;
  // A whole or real number; a bool does not count.
  [[nodiscard]] std::optional<double> number(std::string_view name) const;
  [[nodiscard]] std::optional<bool> flag(std::string_view name) const;
  // How many processes train the run, as accelerate's state says.
  [[nodiscard]] std::optional<std::uint64_t> processes() const;

 private:
  [[nodiscard]] PickleId find(std::string_view name) const;  // kNoNode when absent

  std::shared_ptr<const TorchObject> object_;
  std::vector<PickledField> fields_;
};

}  // namespace mu
