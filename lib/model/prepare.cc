// SPDX-License-Identifier: Apache-2.0
#include "model/prepare.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/text.h"
#include "model/placeholders.h"
#include "model/rank_state.h"

namespace mu {

std::vector<TiedName> find_tied(const Input& input) {
  std::vector<TiedName> tied = shared_storage_names(input.weights);
  if (!input.config || !input.config->tie_word_embeddings.value_or(false)) return tied;
  const TensorsByName names = tensors_by_name(input.weights);
  for (TiedName& pair : tied_candidates(input.weights)) {
    const bool known = std::any_of(tied.begin(), tied.end(), [&pair](const TiedName& other) {
      return other.dropped == pair.dropped || other.dropped == pair.kept;
    });
    if (!known && equal_bytes(input.weights, *names.at(pair.dropped), *names.at(pair.kept)))
      tied.push_back(std::move(pair));
  }
  return tied;
}

Prepared prepare_model(Input& input, const PrepareOptions& options) {
  require_sound(input);
  require_state_dicts(input, options.salvage);
  if (!options.selects) require_no_placeholders(Placeholders(input.weights.tensors), input.name);
  Prepared prepared;
  prepared.notes = left_out_notes(input);
  if (options.copies) {
    if (std::optional<std::string> note =
            use_training_copies(input.weights, *options.copies, options.threads, options.strict_copies))
      prepared.notes.push_back(std::move(*note));
  }
  RemovedWrappers wrappers = remove_wrapper_names(
      input.weights, {.of_adapter = input.is_adapter(), .leading = options.leading_wrappers});
  std::move(wrappers.notes.begin(), wrappers.notes.end(), std::back_inserter(prepared.notes));
  prepared.listed = std::move(wrappers.listed);
  for (const Finding& finding : input.weights.findings.list()) {
    if (finding.level == Level::kSpec && options.warn)
      options.warn(fmt::format("{}: {} [{}]", escape_name(finding.file), finding.message, finding.rule));
  }
  if (options.find_ties) prepared.tied = find_tied(input);
  if (options.change) {
    ModelChange change = options.change(input, prepared.tied);
    prepared.tied = std::move(change.tied);
    prepared.unties = change.unties;
    prepared.config = std::move(change.config);
    for (std::string& note : change.notes) prepared.notes.push_back(std::move(note));
  }
  return prepared;
}

}  // namespace mu
