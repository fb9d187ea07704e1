// SPDX-License-Identifier: Apache-2.0
// The finder of model/ says where each module is in the base; here it is judged. A module that has a finding changes
// nothing, or can't be loaded. What st-pack can merge must pass, so tensors that the adapter holds whole may be new in
// the base (a head for a task), or have other numbers of rows (a vocabulary that grew).
#include "inspect/check_adapter.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/text.h"
#include "inspect/check.h"
#include "inspect/untouched.h"
#include "model/adapter_in_base.h"
#include "model/families.h"
#include "model/lora_adapter.h"
#include "model/module_path.h"
#include "os/interrupt.h"
#include "tensor/format.h"
#include "weights/contents.h"

namespace mu {
namespace {

using Shape = std::vector<std::uint64_t>;

std::string_view way_name(NamesInBase::Way way) {
  switch (way) {
    case NamesInBase::Way::kAsIs:
      return "as-is";
    case NamesInBase::Way::kPublished:
      return "published";
    case NamesInBase::Way::kMemory:
      return "memory";
    case NamesInBase::Way::kText:
      return "text";
    case NamesInBase::Way::kWithout:
      return "without";
    case NamesInBase::Way::kWith:
      return "with";
  }
  return "";
}

bool has_vocabulary(const JsonValue& config, std::uint64_t rows) {
  if (config.find_u64("vocab_size") == rows) return true;
  return std::any_of(config.members().begin(), config.members().end(), [&](const JsonValue::Member& member) {
    return member.value.is_object() && member.key.ends_with("_config") && has_vocabulary(member.value, rows);
  });
}

class Check {
 public:
  Check(const Input& input, const Input& base)
      : adapter_(read_adapter(input)),
        base_(base),
        found_(find_in_base(adapter_, adapter_.config, base)),
        tensors_(tensors_by_name(base.weights)) {
    check_.adapter = input.name;
    check_.base = base.name;
    check_.way = found_.names.way();
  }

  AdapterCheck run() {
    if (std::string note = found_.names.note(); !note.empty()) add_note("", std::move(note));
    if (adapter_.config.rank == 0)
      add_note("", "there is no adapter_config.json: ranks and lora_alpha can't be judged");
    for (std::size_t i = 0; i < adapter_.replaced.size(); ++i)
      check_whole(adapter_.replaced[i], found_.replaced[i]);
    // Saved beside factors of embeddings: the base's own, but for a vocabulary that grew.
    for (std::size_t i = 0; i < adapter_.layers.size(); ++i) {
      const PlaceInBase& place = found_.layers[i];
      if (!place.is_missing() && place.shape != adapter_.layers[i].tensor->shape)
        check_whole(adapter_.layers[i], place);
    }
    std::vector<std::size_t> applied;
    for (std::size_t i = 0; i < adapter_.modules.size(); ++i) {
      if (!adapter_.modules[i].is_target) continue;
      ++check_.modules;
      if (check_module(adapter_.modules[i], found_.modules[i])) applied.push_back(i);
    }
    const std::vector<std::size_t> scaled = with_scale(applied);
    count_effect(scaled);
    for (std::size_t i = 0; i < adapter_.rows.size(); ++i) check_rows(adapter_.rows[i], found_.rows[i]);
    check_saved_modules();
    check_effect(applied.size(), scaled.size());
    note_left_out();
    return std::move(check_);
  }

 private:
  void found(std::string_view rule, const std::string& module, const std::string& message) {
    check_.findings.add({rule, Level::kSpec, false, escape_name(module) + ": " + message,
                         adapter_.weights.files.front().name});
  }
  void add_note(std::string rule, std::string message) {
    check_.notes.push_back({std::move(rule), std::move(message)});
  }

  void found_missing(const std::string& module, const PlaceInBase& place) {
    std::string message = "the base has no tensor " + quoted_name(place.name);
    if (found_.is_ambiguous)
      message = "the base has several models that this adapter fits, so that it is applied to none";
    std::vector<std::string> candidates;
    for (const std::string& name : place.candidates) candidates.push_back(quoted_name(name));
    if (!candidates.empty()) message += "; it has " + join(candidates, ", ");
    found("AD-NAMES", module, message);
  }

  // True if nothing is wrong with it.
  bool check_module(const LoraModule& module, const PlaceInBase& place) {
    const std::string rank = rank_fault(module, place);
    if (!rank.empty()) found("AD-RANK", module.name, rank);
    if (place.is_missing()) {
      found_missing(module.name, place);
      return false;
    }
    std::string shape = shape_fault(module, place, shape_of(*place.tensors.front(), place.shape));
    if (shape.empty()) shape = magnitude_fault(module);
    if (shape.empty()) shape = bias_fault(module, place);
    if (!shape.empty()) found("AD-SHAPE", module.name, shape);
    return shape.empty() && rank.empty();
  }

  // Of the tensors of the base that get the delta.
  static std::uint64_t parameters_of(const LoraModule& module, const PlaceInBase& place) {
    if (place.shape.empty()) return module.b->shape[0] * module.a->shape[1];
    std::uint64_t count = 1;
    for (const std::uint64_t size : place.shape) count *= size;
    return count;
  }

  [[nodiscard]] std::string rank_fault(const LoraModule& module, const PlaceInBase& place) const {
    const std::string kind = module.is_embedding ? "lora_embedding_" : "lora_";
    if (module.a == nullptr || module.b == nullptr)
      return fmt::format("has {0}{1} but no {0}{2}", kind, module.a == nullptr ? "B" : "A",
                         module.a == nullptr ? "A" : "B");
    const Shape &a = module.a->shape, &b = module.b->shape;
    if (a.size() < 2 || b.size() < 2) return "";  // a fault of shape
    if (a[0] != b[1]) return fmt::format("{0}A has {1} rows, but {0}B has {2} columns", kind, a[0], b[1]);
    const LoraConfig& config = adapter_.config;
    if (config.rank == 0) return "";
    const bool is_stack = !place.parameter.ends_with(".weight");
    const auto stated = static_cast<std::uint64_t>(config.rank_of(is_stack ? place.parameter : module.name));
    // A stack has a rank for each expert.
    const std::uint64_t experts = !is_stack                 ? 1
                                  : place.shape.size() == 3 ? place.shape[0]
                                                            : std::max<std::uint64_t>(a[0] / stated, 1);
    if (experts == 0 || a[0] % experts != 0) return "";  // a fault of shape
    if (a[0] / experts == stated) return "";
    return fmt::format("has rank {}, but adapter_config.json says {}", a[0] / experts, stated);
  }

  // Of a tensor of the base, or what the adapter makes of it.
  [[nodiscard]] const Shape& shape_of(const Tensor& tensor, const Shape& own) const {
    const auto resized = resized_.find(&tensor);
    return resized == resized_.end() ? own : resized->second;
  }

  static std::string shape_fault(const LoraModule& module, const PlaceInBase& place, const Shape& w) {
    if (module.a == nullptr || module.b == nullptr) return "";
    const Shape &a = module.a->shape, &b = module.b->shape;
    if (a.size() < 2 || a.size() != b.size()) return "its factors are not matrices";
    if (module.a->element_count() == 0 || module.b->element_count() == 0)
      return "an empty factor, as ZeRO stage 3 leaves it";
    const std::size_t out = module.is_embedding ? 1 : 0;
    const bool fits = w == place.shape ? place.fits : w.size() == 2 && w[out] == b[0] && w[1 - out] == a[1];
    if (!fits)
      return fmt::format("its factors {} and {} don't fit {}, which is {}", shape_text(a), shape_text(b),
                         quoted_name(place.name), shape_text(w));
    return "";
  }

  // Of DoRA. PEFT makes up a vector that is missing, and the result is another.
  [[nodiscard]] std::string magnitude_fault(const LoraModule& module) const {
    if (module.a == nullptr || module.b == nullptr) return "";  // a fault of rank
    if (module.magnitude == nullptr)
      return adapter_.config.use_dora && !module.is_embedding
                 ? "has no magnitude vector, although use_dora is set"
                 : "";
    return module.magnitude->element_count() == module.b->shape[0]
               ? ""
               : "its magnitude vector does not have one value for each row of lora_B";
  }

  // Of lora_bias, which needs a bias in the base.
  [[nodiscard]] std::string bias_fault(const LoraModule& module, const PlaceInBase& place) const {
    if (module.bias == nullptr || !place.parameter.ends_with(".weight")) return "";
    const std::string name = found_.names(module.name + ".bias");
    const auto bias = tensors_.find(name);
    if (bias == tensors_.end()) return "has a bias, but the base has no tensor " + quoted_name(name);
    return bias->second->element_count() == module.bias->element_count()
               ? ""
               : "its bias and " + quoted_name(name) + " differ in length";
  }

  void check_rows(const ReplacedRows& rows, const PlaceInBase& place) {
    if (place.is_missing()) return found_missing(rows.module, place);
    const Shape& w = shape_of(*place.tensors.front(), place.shape);
    if (!w.empty() && (w.size() != 2 || w[1] != rows.rows->shape[1]))
      return found("AD-SHAPE", rows.module,
                   fmt::format("its trained rows have {} columns, but {} is {}", rows.rows->shape[1],
                               quoted_name(place.name), shape_text(w)));
    for (const std::uint64_t id : rows.ids) {
      if (!w.empty() && id >= w[0])
        return found("AD-SHAPE", rows.module,
                     fmt::format("a row was trained for token {}, but the base has {}", id, w[0]));
    }
    ++check_.rows;
    if (!changed_.contains(place.name)) check_.parameters += rows.rows->element_count();
  }

  void check_whole(const ReplacedTensor& whole, const PlaceInBase& place) {
    if (place.is_missing()) {
      ++check_.added;
      return add_note("", escape_name(whole.name) + " is not in the base: it is added");
    }
    const Shape &w = place.tensors.front()->shape, &own = whole.tensor->shape;
    const bool rows_differ = !w.empty() && w.size() == own.size() && w[0] != own[0] &&
                             std::equal(w.begin() + 1, w.end(), own.begin() + 1);
    const bool may_differ = rows_differ && ((base_.config && has_vocabulary(base_.config->root, w[0])) ||
                                            is_head_of_task(adapter_.config.task_type, whole.name));
    if (w != own && !may_differ)
      return found("AD-SHAPE", whole.name,
                   fmt::format("the tensor is {}, but {} is {}", shape_text(own), quoted_name(place.name),
                               shape_text(w)));
    if (rows_differ) {
      resized_[place.tensors.front()] = own;
      add_note("", fmt::format("{} has {} rows, in the base {}: they are resized", escape_name(whole.name),
                               own[0], w[0]));
    }
    ++check_.whole;
    if (changed_.insert(place.name).second) check_.parameters += whole.tensor->element_count();
  }

  // PEFT loads no adapter that lacks a module which it was trained with.
  void check_saved_modules() {
    for (const std::string& key : adapter_.config.modules_to_save) {
      const auto is_of = [&](std::string_view tensor) {
        const std::string_view module = saved_module(tensor.substr(0, tensor.rfind('.')), key);
        return ends_in_path(module, key);
      };
      const auto& whole = adapter_.replaced;
      if (std::any_of(whole.begin(), whole.end(), [&](const ReplacedTensor& one) { return is_of(one.name); }))
        continue;
      const std::string own = found_.names(key + ".weight");
      const std::vector<Tensor>& tensors = base_.weights.tensors;
      const auto lacking = std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& tensor) {
        return tensor.name == own || is_of(tensor.name);
      });
      if (lacking != tensors.end())
        found("AD-NAMES", key,
              fmt::format("modules_to_save names it and the base has {}, but the adapter lacks it: PEFT does "
                          "not load such an adapter",
                          quoted_name(lacking->name)));
    }
  }

  // A delta that is not zero; DoRA's magnitudes and biases change something by themselves.
  [[nodiscard]] bool has_effect(const LoraModule& module) const {
    if (module.magnitude != nullptr) return true;
    if (module.bias != nullptr && !is_zero(adapter_.weights, *module.bias)) return true;
    return !is_zero(adapter_.weights, *module.b) && !is_zero(adapter_.weights, *module.a);
  }

  // Of these modules those whose alpha is not 0, or which DoRA changes without one.
  [[nodiscard]] std::vector<std::size_t> with_scale(const std::vector<std::size_t>& modules) const {
    std::vector<std::size_t> scaled;
    std::copy_if(modules.begin(), modules.end(), std::back_inserter(scaled), [&](std::size_t i) {
      const LoraModule& module = adapter_.modules[i];
      const std::string& parameter = found_.modules[i].parameter;
      return module.magnitude != nullptr || adapter_.config.rank == 0 ||
             adapter_.config.alpha_of(parameter.ends_with(".weight") ? module.name : parameter) != 0;
    });
    return scaled;
  }

  void count_effect(const std::vector<std::size_t>& modules) {
    for (const std::size_t i : modules) {
      check_interrupt();
      const LoraModule& module = adapter_.modules[i];
      if (!has_effect(module)) continue;
      ++check_.changed;
      const PlaceInBase& place = found_.modules[i];
      // The experts of a stack are apart, and tied layers are one.
      const bool is_part = place.shape.size() == 2 && place.tensors.front()->shape.size() == 3;
      if (changed_.insert(is_part ? place.parameter : place.tensors.front()->name).second)
        check_.parameters += parameters_of(module, place);
    }
  }

  void check_effect(std::size_t applied, std::size_t scaled) {
    const std::string all = "all modules";
    if (check_.modules == 0 && !adapter_.modules.empty())
      found("AD-NOOP", all, "target_modules of adapter_config.json names none of them: PEFT applies nothing");
    if (applied == 0) return;
    if (scaled == 0 && adapter_.config.alpha != 0)
      found("AD-NOOP", all,
            "alpha_pattern of adapter_config.json gives each the alpha 0: their factors do nothing");
    else if (scaled == 0)
      found("AD-NOOP", all,
            "lora_alpha is 0, so that their factors do nothing; lora-extract --alpha N sets it");
    else if (check_.changed == 0 && check_.rows + check_.whole == 0)
      found("AD-NOOP", all,
            "each has a lora_A or lora_B that is zero: the adapter was not trained, or was emptied");
    else if (check_.changed < applied)
      add_note("", fmt::format("{} nothing: lora_A, lora_B or the alpha is zero",
                               applied - check_.changed == 1
                                   ? "1 module changes"
                                   : fmt::format("{} modules change", applied - check_.changed)));
  }

  void note_left_out() {
    const std::uint64_t count = adapter_.modules.size() - check_.modules;
    if (count > 0 && check_.modules > 0)
      add_note("",
               fmt::format("{} of the adapter left out: target_modules don't name them, and PEFT applies no "
                           "other",
                           plural(count, "module")));
    const Untouched untouched = find_untouched(adapter_, adapter_.config, found_, base_);
    if (untouched.missing == 0 || check_.changed == 0) return;
    add_note("AD-PARTIAL",
             fmt::format(
                 "the config is for {} of the base, but the adapter has nothing for {} of them, such as {}",
                 plural(untouched.covered, "module"), untouched.missing, quoted_name(untouched.first)));
  }

  const Adapter adapter_;
  const Input& base_;
  const AdapterInBase found_;
  const TensorsByName tensors_;  // of the base
  std::unordered_map<const Tensor*, Shape> resized_;
  std::unordered_set<std::string> changed_;  // names in the base
  AdapterCheck check_;
};

bool changes_anything(const AdapterCheck& check) {
  return check.changed + check.rows + check.whole + check.added > 0;
}

std::string verdict(const AdapterCheck& check) {
  const std::string base = escape_name(check.base);
  if (!changes_anything(check)) {
    const bool unmatched = check.modules > 0 && check.findings.count("AD-NAMES") >= check.modules;
    return unmatched ? fmt::format("matches nothing in {}: a server would serve the base unchanged", base)
                     : fmt::format("changes nothing in {}", base);
  }
  std::vector<std::string> parts;
  if (check.modules > 0)
    parts.push_back(check.changed == check.modules
                        ? plural(check.modules, "module")
                        : fmt::format("{} of {}", check.changed, plural(check.modules, "module")));
  if (check.rows > 0) parts.push_back("rows of " + plural(check.rows, "embedding"));
  if (check.whole > 0) parts.push_back(plural(check.whole, "whole tensor"));
  if (parts.empty()) return fmt::format("adds {} to {}", plural(check.added, "tensor"), base);
  return fmt::format("changes {} of {}: {} {}", join(parts, ", "), base, group_digits(check.parameters),
                     check.parameters == 1 ? "parameter" : "parameters");
}

}  // namespace

bool is_applied(const AdapterCheck& check) {
  return check.findings.list().empty() && changes_anything(check);
}

AdapterCheck check_adapter(const Input& adapter, const Input& base) {
  return Check(adapter, base).run();
}

std::string adapter_check_text(const AdapterCheck& check) {
  const std::string who = escape_name(check.adapter);
  std::string text = findings_text(check.findings, Level::kSpec, check.adapter);
  for (const AdapterCheck::Note& note : check.notes)
    text += fmt::format("{}: {} [{}note]\n", who, note.message, note.rule.empty() ? "" : note.rule + " ");
  return text + fmt::format("{}: {}\n", who, verdict(check));
}

void write_adapter_check(JsonWriter& json, const AdapterCheck& check) {
  json.key("base").begin_object().member("path", check.base).member("names", way_name(check.way));
  json.member("modules", check.modules)
      .member("changed_modules", check.changed)
      .member("changed_parameters", check.parameters)
      .member("changed_rows", check.rows)
      .member("replaced_tensors", check.whole)
      .member("added_tensors", check.added);
  json.key("notes").begin_array();
  for (const AdapterCheck::Note& note : check.notes) {
    json.begin_object();
    if (!note.rule.empty()) json.member("rule", note.rule);
    json.member("message", note.message).end_object();
  }
  json.end_array().end_object();
}

}  // namespace mu
