// SPDX-License-Identifier: Apache-2.0
#include "ckpt/saved_arguments.h"

#include <string>
#include <utility>

#include "base/error.h"
#include "model/training_args.h"

namespace mu {
namespace {

SavedArguments parse(InputFile file) {
  try {
    const TrainingArguments arguments = TrainingArguments::read(std::move(file));
    return {arguments.processes().value_or(0), arguments.flag("save_on_each_node").value_or(false),
            arguments.flag("save_only_model").value_or(false)};
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kMalformed) throw;
    return {};
  }
}

}  // namespace

SavedArguments read_saved_arguments(InputFile file) {
  thread_local std::pair<std::string, SavedArguments> last;
  constexpr std::uint64_t kMost = 64U << 10;  // real ones have 5 to 8 KB
  if (file.size() > kMost) return parse(std::move(file));
  std::string bytes = file.read_start(kMost);
  if (bytes.empty() || bytes != last.first) last = {std::move(bytes), parse(std::move(file))};
  return last.second;
}

}  // namespace mu
