// SPDX-License-Identifier: Apache-2.0
#include "weights/pickle/safety.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>

#include "base/text.h"

namespace mu {
namespace {

// MEMBER_1, as Python's enums call their members. Methods and attributes begin in lower case.
bool is_member_name(std::string_view text) {
  return !text.empty() && text.front() >= 'A' && text.front() <= 'Z' &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; });
}

std::string_view how_name(CallKind kind) {
  switch (kind) {
    case CallKind::kReduce:
      return "REDUCE";
    case CallKind::kNew:
      return "NEWOBJ";
    case CallKind::kNewEx:
      return "NEWOBJ_EX";
    case CallKind::kObject:
      return "OBJ";
    case CallKind::kInstance:
      return "INST";
  }
  return "";
}

// getattr(EnumClass, 'MEMBER') is how some versions of Python write the member of an enum.
bool is_enum_member(const Pickle& pickle, const PickleCall& call) {
  if (call.kind != CallKind::kReduce || pickle.kind(call.args) != PickleKind::kTuple) return false;
  const std::span<const PickleId> args = pickle.items(call.args);
  if (args.size() != 2 || pickle.kind(args[0]) != PickleKind::kGlobal ||
      pickle.kind(args[1]) != PickleKind::kText)
    return false;
  const PickleGlobal& owner = pickle.global(args[0]);
  return judge_global(owner.module, owner.name) == Verdict::kHarmless && is_member_name(pickle.text(args[1]));
}

// getattr(ShardedTensor, 'ProcessGroupState'): how torch writes a class that is defined in another one. Its objects
// hold four numbers.
bool is_process_group_state(const Pickle& pickle, PickleId id) {
  if (pickle.kind(id) != PickleKind::kCall) return false;
  const PickleCall& call = pickle.call(id);
  if (call.kind != CallKind::kReduce || pickle.kind(call.callee) != PickleKind::kGlobal ||
      pickle.kind(call.args) != PickleKind::kTuple)
    return false;
  const PickleGlobal& callee = pickle.global(call.callee);
  const std::span<const PickleId> args = pickle.items(call.args);
  if (canonical_global(callee.module, callee.name) != "builtins.getattr" || args.size() != 2 ||
      pickle.kind(args[0]) != PickleKind::kGlobal || pickle.kind(args[1]) != PickleKind::kText)
    return false;
  const PickleGlobal& owner = pickle.global(args[0]);
  return owner.module == "torch.distributed._shard.sharded_tensor.api" && owner.name == "ShardedTensor" &&
         pickle.text(args[1]) == "ProcessGroupState";
}

// True when the pickle calls getattr for members of enums and for ProcessGroupState, and does nothing else with it.
bool has_harmless_getattr(const Pickle& pickle) {
  std::vector<bool> is_getattr(pickle.node_count(), false);
  bool named = false;
  for (PickleId id = 0; id < pickle.node_count(); ++id) {
    if (pickle.kind(id) != PickleKind::kGlobal) continue;
    const PickleGlobal& global = pickle.global(id);
    is_getattr[id] = canonical_global(global.module, global.name) == "builtins.getattr";
    named = named || is_getattr[id];
  }
  if (!named) return true;
  // Anything that holds it could pass it on.
  const auto holds = [&is_getattr](PickleId id) { return id != kNoNode && is_getattr[id]; };
  for (PickleId id = 0; id < pickle.node_count(); ++id) {
    const std::span<const PickleId> items = pickle.items(id);
    if (std::any_of(items.begin(), items.end(), holds)) return false;
    if (pickle.kind(id) != PickleKind::kCall) continue;
    const PickleCall& call = pickle.call(id);
    if (holds(call.args) || holds(call.kwargs) || holds(call.state)) return false;
    if (holds(call.callee) && !is_enum_member(pickle, call) && !is_process_group_state(pickle, id))
      return false;
  }
  return std::none_of(pickle.builds().begin(), pickle.builds().end(),
                      [&](const Pickle::Build& build) { return holds(build.target) || holds(build.state); });
}

// How the callee of a call comes about, in words.
std::string callee_text(const Pickle& pickle, PickleId callee) {
  const auto name_of = [&pickle](PickleId id) {
    return canonical_global(pickle.global(id).module, pickle.global(id).name);
  };
  switch (pickle.kind(callee)) {
    case PickleKind::kGlobal:
      return name_of(callee);
    case PickleKind::kCall: {
      if (is_process_group_state(pickle, callee))
        return "torch.distributed._shard.sharded_tensor.api.ShardedTensor.ProcessGroupState";
      const PickleId inner = pickle.call(callee).callee;
      return "the result of " + (pickle.kind(inner) == PickleKind::kGlobal ? name_of(inner) : "a result");
    }
    case PickleKind::kPersistent:
      return "a persistent id";
    default:
      return "a plain value";
  }
}

// Why torch/_weights_only_unpickler.py (torch 2.13) refuses a call, or nothing.
std::optional<std::string> objection_to(const Pickle& pickle, const PickleCall& call) {
  const std::string name = callee_text(pickle, call.callee);
  if (pickle.kind(call.callee) != PickleKind::kGlobal || !is_weights_only_global(name))
    return "a call of " + name;
  if (call.list != kNoNode) return "items appended to " + name;
  if (call.dict != kNoNode && name != "collections.OrderedDict" && name != "collections.Counter")
    return "items set on " + name;
  return std::nullopt;
}

std::optional<std::string> objection_of(const Pickle& pickle) {
  if (pickle.foreign_opcode()) return "opcode " + *pickle.foreign_opcode();
  for (const PickleGlobal& global : pickle.globals()) {
    const std::string name = canonical_global(global.module, global.name);
    if (!is_weights_only_global(name)) return name;
  }
  for (const PickleCall& call : pickle.calls()) {
    if (std::optional<std::string> objection = objection_to(pickle, call)) return objection;
  }
  if (!pickle.builds().empty()) return std::string("the state of a plain value");
  for (PickleId id = 0; id < pickle.node_count(); ++id) {
    if (pickle.kind(id) != PickleKind::kPersistent) continue;
    const PickleKind kind = pickle.kind(pickle.items(id)[0]);
    if (kind != PickleKind::kTuple && kind != PickleKind::kInt)
      return std::string("a persistent id that is not a tuple");
  }
  return std::nullopt;
}

}  // namespace

PickleReport report_pickle(const Pickle& pickle) {
  PickleReport report;
  report.fault = pickle.fault();
  report.oddity = pickle.oddity();
  const bool harmless_getattr = has_harmless_getattr(pickle);
  std::unordered_map<std::string, std::size_t> known;
  for (const PickleGlobal& global : pickle.globals()) {
    std::string name = canonical_global(global.module, global.name);
    Verdict verdict = judge_global(global.module, global.name);
    if (name == "builtins.getattr" && harmless_getattr) verdict = Verdict::kHarmless;
    report.worst = std::max(report.worst, verdict);
    const auto [place, fresh] = known.try_emplace(name, report.globals.size());
    if (!fresh) {
      // "a.b" + "c" and "a" + "b.c" read alike and are judged apart.
      PickleReport::Name& entry = report.globals[place->second];
      entry.verdict = std::max(entry.verdict, verdict);
      ++entry.count;
      continue;
    }
    const std::string written = std::string(global.module) + "." + std::string(global.name);
    report.globals.push_back({name, written == name ? "" : written, verdict, global.at, 1});
  }
  std::stable_sort(
      report.globals.begin(), report.globals.end(),
      [](const PickleReport::Name& a, const PickleReport::Name& b) { return a.verdict > b.verdict; });
  std::map<std::pair<std::string, std::string_view>, std::size_t> calls;
  const auto add_call = [&](PickleId callee, std::string_view how, std::uint64_t at) {
    const auto [place, fresh] = calls.try_emplace({callee_text(pickle, callee), how}, report.calls.size());
    if (fresh) {
      report.calls.push_back({place->first.first, std::string(how), at, 1});
    } else {
      ++report.calls[place->second].count;
    }
  };
  for (PickleId id = 0; id < pickle.node_count(); ++id) {
    if (pickle.kind(id) != PickleKind::kCall) continue;
    const PickleCall& call = pickle.call(id);
    add_call(call.callee, how_name(call.kind), pickle.offset(id));
    // What a harmless function returns need not be harmless to call.
    if (pickle.kind(call.callee) != PickleKind::kGlobal && !is_process_group_state(pickle, call.callee))
      report.worst = std::max(report.worst, Verdict::kUnknown);
  }
  for (const Pickle::Build& build : pickle.builds()) {
    // Sets attributes of a class or function, or of something that is not a new object.
    add_call(build.target, "BUILD", build.at);
    if (pickle.kind(build.target) == PickleKind::kGlobal)
      report.worst = std::max(report.worst, Verdict::kUnknown);
  }
  report.weights_only_objection = objection_of(pickle);
  return report;
}

}  // namespace mu
