// SPDX-License-Identifier: Apache-2.0
#include "inspect/safety.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "cli/console.h"
#include "cli/table.h"
#include "os/folder.h"
#include "weights/torch/file.h"

namespace mu {
namespace {

// Calls on_report(file, report) for every pickle.
template <typename OnReport>
void each_report(const Input& input, OnReport on_report) {
  for (const WeightsFile& file : input.weights.files) {
    if (!file.object) continue;
    for (const PickleReport& report : file.object->reports) on_report(file, report);
  }
}

Verdict worst_of(const Input& input) {
  Verdict worst = Verdict::kHarmless;
  each_report(input,
              [&](const WeightsFile&, const PickleReport& report) { worst = std::max(worst, report.worst); });
  return worst;
}

std::vector<std::string> names_with(const Input& input, Verdict verdict) {
  std::vector<std::string> names;
  each_report(input, [&](const WeightsFile&, const PickleReport& report) {
    for (const PickleReport::Name& global : report.globals) {
      const std::string name = escape_name(global.name);
      if (global.verdict == verdict && std::find(names.begin(), names.end(), name) == names.end())
        names.push_back(name);
    }
  });
  return names;
}

bool has_pickle(const Input& input) {
  return std::any_of(input.weights.files.begin(), input.weights.files.end(),
                     [](const WeightsFile& file) { return file.object != nullptr; });
}

std::string some_of(std::vector<std::string> names) {
  constexpr std::size_t kShown = 3;
  const std::size_t count = names.size();
  names.resize(std::min(count, kShown));
  return join(names, ", ") + (count > kShown ? fmt::format(" and {} more", count - kShown) : "");
}

std::string where(const WeightsFile& file, const PickleReport& report) {
  return escape_name(file.name) + (report.pickle.empty() ? "" : ": " + escape_name(report.pickle));
}

}  // namespace

std::string safety_line(const Input& input) {
  if (!has_pickle(input)) return "";
  const std::vector<std::string> dangerous = names_with(input, Verdict::kDangerous);
  if (!dangerous.empty())
    return red("dangerous pickle") + ": names " + some_of(dangerous) + "; don't load it (--check lists all)";
  const std::vector<std::string> unknown = names_with(input, Verdict::kUnknown);
  if (!unknown.empty() || worst_of(input) == Verdict::kUnknown)
    return yellow("pickle") + ": names what is not known to be harmless: " + some_of(unknown) +
           " (--check lists all)";
  return "pickle: names only what is known to be harmless";
}

std::string danger_text(const Input& input) {
  std::string text;
  each_report(input, [&text](const WeightsFile& file, const PickleReport& report) {
    if (!text.empty() || report.worst != Verdict::kDangerous) return;
    const PickleReport::Name& first = report.globals.front();  // the worst come first
    text = fmt::format("{}: byte {}: a pickle that is dangerous to load: it names {} (--check lists all)",
                       where(file, report), first.at, escape_name(first.name));
  });
  return text;
}

std::string safety_text(const Input& input) {
  std::string text;
  each_report(input, [&](const WeightsFile& file, const PickleReport& report) {
    const std::string place = where(file, report);
    for (const PickleReport::Name& global : report.globals) {
      text += fmt::format("{}: byte {}: {} {}{}{}\n", place, global.at, verdict_name(global.verdict),
                          escape_name(global.name),
                          global.written.empty() ? "" : " (written " + escape_name(global.written) + ")",
                          global.count > 1 ? fmt::format(" ×{}", group_digits(global.count)) : "");
    }
    for (const PickleReport::Call& call : report.calls) {
      text +=
          fmt::format("{}: byte {}: {} would call {}{}\n", place, call.at, call.how, escape_name(call.callee),
                      call.count > 1 ? fmt::format(" ×{}", group_digits(call.count)) : "");
    }
    if (report.oddity)
      text += fmt::format("{}: byte {}: odd: {}\n", place, report.oddity->at, report.oddity->message);
    if (report.fault)
      text += fmt::format("{}: byte {}: broken here: {}\n", place, report.fault->at, report.fault->message);
    text += fmt::format("{}: torch.load(weights_only=True) {}\n", place,
                        report.weights_only_objection
                            ? "refuses it: " + escape_name(*report.weights_only_objection)
                            : "accepts what it names");
  });
  if (has_pickle(input)) text += escape_name(input.name) + ": " + safety_line(input) + "\n";
  return text;
}

int safety_exit_code(const Input& input) {
  switch (worst_of(input)) {
    case Verdict::kHarmless:
      return 0;
    case Verdict::kUnknown:
      return 1;
    case Verdict::kDangerous:
      return 4;
  }
  return 0;
}

void write_pickles(JsonWriter& json, const Input& input) {
  if (!has_pickle(input)) return;
  json.key("pickles").begin_array();
  each_report(input, [&](const WeightsFile& file, const PickleReport& report) {
    json.begin_object().member("file", base_name(file.name)).member("member", report.pickle);
    json.member("verdict", verdict_name(report.worst))
        .member("weights_only", !report.weights_only_objection.has_value());
    if (report.weights_only_objection) json.member("weights_only_objection", *report.weights_only_objection);
    json.key("globals").begin_array();
    for (const PickleReport::Name& global : report.globals)
      json.begin_object()
          .member("name", global.name)
          .member("verdict", verdict_name(global.verdict))
          .member("offset", global.at)
          .member("count", global.count)
          .end_object();
    json.end_array().key("calls").begin_array();
    for (const PickleReport::Call& call : report.calls)
      json.begin_object()
          .member("callee", call.callee)
          .member("opcode", call.how)
          .member("offset", call.at)
          .member("count", call.count)
          .end_object();
    json.end_array().end_object();
  });
  json.end_array();
}

}  // namespace mu
