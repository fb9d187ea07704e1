// SPDX-License-Identifier: Apache-2.0
#include "model/prepare.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "model/placeholders.h"
#include "model/rank_state.h"
#include "weights/ranks/copies.h"

namespace mu {
namespace {

PlainModel plan_or_advise(const Input& input, const PrepareOptions& options) {
  try {
    return plan_plain(input, options.plain_dtype);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kRefused || options.instead.empty()) throw;
    throw refused(error.message())
        .in_file(error.file())
        .hint(error.hint().empty() ? options.instead : error.hint() + "; or " + options.instead);
  }
}

}  // namespace

Prepared prepare_model(Input& input, const PrepareOptions& options) {
  require_sound(input);
  require_state_dicts(input, options.salvage);
  if (!options.selects) require_no_placeholders(Placeholders(input.weights.tensors), input.name);
  require_equal_copies(input.weights, options.threads);
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
  if (options.make_plain && is_quantised(input)) {
    prepared.plain = make_plain(input, plan_or_advise(input, options));
    prepared.config = prepared.plain->config;
  }
  if (options.find_ties) {
    FoundTies found = find_tied(input.config, input.weights, options.ties);
    prepared.tied = std::move(found.tied);
    for (std::string& note : found.notes) prepared.notes.push_back(std::move(note));
  }
  if (options.change) {
    ModelChange change = options.change(input, prepared.tied);
    prepared.tied = std::move(change.tied);
    prepared.unties = change.unties;
    std::move(change.config.begin(), change.config.end(), std::back_inserter(prepared.config));
    for (std::string& note : change.notes) prepared.notes.push_back(std::move(note));
  }
  return prepared;
}

}  // namespace mu
