// SPDX-License-Identifier: Apache-2.0
// The algorithm of transformers' revert_weight_conversion and convert_and_load_state_dict_in_model: names are sorted
// naturally, each joins the group of its new name, each group is converted, and to save, what was made is renamed once
// more. A rule may wait for a name that another one matched, so that the order matters.
#include "model/renaming.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/natural.h"
#include "base/text.h"
#include "model/conversions.h"

namespace mu {
namespace {

// Tensors that become one name, or, converted, names that begin with that of one.
struct Group {
  std::string name;
  const NameRule* rule = nullptr;
  std::size_t first = 0;           // the smallest number of its tensors
  std::vector<Patterned> sources;  // without a rule one, of one tensor
};

// How many experts the stack of that name has at least, by the config: by what it says of the layer alone, else of the
// whole model, else of its text model. A class may have several of the keys.
std::optional<std::uint64_t> stated_experts(const JsonValue& config, std::string_view stack) {
  const std::string layer = std::to_string(last_number_in(stack).value_or(0));
  std::vector<const JsonValue*> sections;
  for (const JsonValue* section : {&config, config.find("text_config")}) {
    if (section == nullptr) continue;
    if (const JsonValue* const layers = section->find("per_layer_config"); layers != nullptr)
      sections.push_back(layers->find(layer));
    sections.push_back(section);
  }
  std::optional<std::uint64_t> fewest;
  for (const std::string_view key :
       {"num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"}) {
    for (const JsonValue* section : sections) {
      const std::optional<std::uint64_t> stated = section == nullptr ? std::nullopt : section->find_u64(key);
      if (!stated) continue;
      fewest = std::min(fewest.value_or(*stated), *stated);
      break;
    }
  }
  return fewest;
}

class Renamer {
 public:
  Renamer(const std::vector<Tensor>& tensors, const TensorNames& names, const ModelConfig& config, bool saves)
      : tensors_(tensors),
        config_(config),
        rules_(saves ? names.name_class().save : names.name_class().load),
        saves_(saves),
        pass_(names, saves) {}

  Renaming run() {
    std::vector<std::size_t> order(tensors_.size());
    std::iota(order.begin(), order.end(), 0U);
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return natural_less(tensors_[a].name, tensors_[b].name);
    });
    for (const std::size_t i : order) add(i);
    check_experts();
    if (!saves_) {
      std::stable_sort(groups_.begin(), groups_.end(),
                       [](const Group& a, const Group& b) { return a.first < b.first; });
    }
    for (Group& group : groups_) finish(group);
    if (!saves_) {
      for (const Group& group : groups_) check_other_stacks(group);
    }
    return std::move(result_);
  }

 private:
  [[noreturn]] void collide(const std::string& name, std::size_t a, std::size_t b) const {
    throw malformed(fmt::format("'{}' and '{}' would both be '{}'", escape_name(tensors_[a].name),
                                escape_name(tensors_[b].name), escape_name(name)));
  }

  void add(std::size_t i) {
    const Tensor& tensor = tensors_[i];
    RenamedTensor renamed = pass_.next(tensor.name);
    const auto [at, fresh] = places_.try_emplace(renamed.name, groups_.size());
    if (fresh) groups_.push_back({renamed.name, renamed.conversion, i, {}});
    Group& group = groups_[at->second];
    if (!fresh && (group.rule == nullptr || renamed.conversion == nullptr ||
                   !is_alike(*group.rule, *renamed.conversion)))
      collide(renamed.name, group.first, i);
    group.first = std::min(group.first, i);
    const std::string pattern = group.rule == nullptr ? "" : renamed.conversion->match[renamed.pattern];
    auto source = std::find_if(group.sources.begin(), group.sources.end(),
                               [&](const Patterned& one) { return one.pattern == pattern; });
    if (source == group.sources.end()) source = group.sources.insert(source, {pattern, {}, {}});
    source->tensors.push_back(tensor);
    source->from.push_back({i});
  }

  // A class may have one conversion twice, in two scopes.
  static bool is_alike(const NameRule& a, const NameRule& b) {
    return &a == &b || (a.match == b.match && a.to == b.to);
  }

  // The stacks of a layer have as many experts each, and as many as the config says: whole experts that are missing at
  // the end of every list show nowhere else. LongCat's experts that do nothing have rows in gate_up_proj alone.
  void check_experts() const {
    const std::uint64_t idle = config_.root.find_u64("zero_expert_num").value_or(0);
    std::map<std::string, std::pair<std::uint64_t, std::string>> counts;  // by container: experts, and whose
    for (const Group& group : groups_) {
      if (group.rule == nullptr) continue;
      const std::optional<std::uint64_t> count = experts_of(*group.rule, group.sources);
      if (!count) continue;
      const std::string& stack = saves_ ? group.sources.front().tensors.front().name : group.name;
      const auto [at, fresh] = counts.try_emplace(stack.substr(0, stack.rfind('.')), *count, stack);
      const std::uint64_t difference =
          std::max(at->second.first, *count) - std::min(at->second.first, *count);
      if (difference != 0 && difference != idle)
        throw malformed(fmt::format("'{}' has {}, '{}' has {}", escape_name(at->second.second),
                                    plural(at->second.first, "expert"), escape_name(stack), *count));
      check_count(*group.rule, stack, *count);
    }
  }

  void check_count(const NameRule& rule, const std::string& stack, std::uint64_t count) const {
    // Towers count their experts in places of their own.
    if (rule.is_scoped && !rule.scope.empty() && rule.scope != "language_model") return;
    const std::optional<std::uint64_t> stated = stated_experts(config_.root, stack);
    if (stated && count < *stated)
      throw malformed(fmt::format("'{}' has {}, but config.json says {}", escape_name(stack),
                                  plural(count, "expert"), *stated));
  }

  // What the class has beside the stack, its other half, must be there.
  void check_other_stacks(const Group& group) const {
    const auto container_of = [](const std::string& target) {
      return target.substr(0, target.rfind('.') + 1);
    };
    if (group.rule == nullptr || !stacks_experts(*group.rule) || group.rule->to.size() != 1) return;
    const std::string& own = group.rule->to.front();
    const std::size_t at = group.name.rfind(own);
    if (at == std::string::npos) return;
    for (const NameRule& rule : rules_) {
      const std::string& other = rule.to.front();
      if (!stacks_experts(rule) || rule.scope != group.rule->scope ||
          container_of(other) != container_of(own))
        continue;
      std::string name = group.name;
      name.replace(at, own.size(), other);
      if (!places_.contains(name))
        throw malformed(fmt::format("no tensor matches '{}': '{}' is there without '{}'",
                                    join(rule.match, "' or '"), escape_name(group.name), escape_name(name)));
    }
  }

  void finish(Group& group) {
    if (group.rule == nullptr) {
      Patterned& one = group.sources.front();
      emit(std::move(one.tensors.front()), std::move(group.name), std::move(one.from.front()));
      return;
    }
    const Tensor first = group.sources.front().tensors.front();
    std::vector<std::size_t> first_from = group.sources.front().from.front();
    std::optional<std::vector<Patterned>> made =
        convert(*group.rule, std::move(group.sources), config_, group.name);
    if (!made) {
      emit(first, first.name, std::move(first_from));
      result_.items.back().is_opaque = true;
      return;
    }
    const std::optional<Frame> frame = frame_of(group.name, *made);
    const std::size_t copies = copies_of(*group.rule, first, made->size());
    std::map<std::size_t, std::size_t> blocks;  // by the copy, or the tensor, that results are views of
    for (std::size_t i = 0; i < made->size(); ++i) {
      Patterned& one = (*made)[i];
      std::string name = frame ? frame->before + one.pattern + frame->behind : one.pattern;
      if (saves_) name = pass_.finish(name);
      const std::size_t viewed = copies > 1 ? i * copies / made->size() : one.from.front().front();
      const bool is_view = one.from.front().size() == 1;
      emit(std::move(one.tensors.front()), std::move(name), std::move(one.from.front()));
      std::size_t& own = result_.items.back().block;
      if (is_view) own = blocks.try_emplace(viewed, own).first->second;
    }
  }

  // What is before and behind one of the targets in the group's name; each of them is put there in turn.
  struct Frame {
    std::string before, behind;
  };

  static std::optional<Frame> frame_of(std::string name, const std::vector<Patterned>& made) {
    for (std::size_t at = name.find("*."); at != std::string::npos; at = name.find("*.", at + 2))
      name[at] = '0';
    for (const Patterned& one : made) {
      if (const std::size_t at = name.find(one.pattern); at != std::string::npos)
        return Frame{name.substr(0, at), name.substr(at + one.pattern.size())};
    }
    return std::nullopt;
  }

  void emit(Tensor tensor, std::string name, std::vector<std::size_t> from) {
    if (const auto [at, fresh] = names_.try_emplace(name, from.front()); !fresh)
      collide(name, at->second, from.front());
    if (from.size() > 1 || tensors_[from.front()].name != name) {
      for (const std::size_t i : from) result_.changed += changed_.insert(i).second ? 1 : 0;
    }
    tensor.name = std::move(name);
    result_.items.push_back(
        {.tensor = std::move(tensor), .from = std::move(from), .block = result_.items.size()});
  }

  const std::vector<Tensor>& tensors_;
  const ModelConfig& config_;
  const std::vector<NameRule>& rules_;
  bool saves_;
  NamePass pass_;
  std::vector<Group> groups_;
  std::unordered_map<std::string, std::size_t> places_;  // groups by name
  std::unordered_map<std::string, std::size_t> names_;   // of the result, and the first tensor of each
  std::unordered_set<std::size_t> changed_;
  Renaming result_;
};

}  // namespace

Renaming to_published(const std::vector<Tensor>& tensors, const TensorNames& names,
                      const ModelConfig& config) {
  return Renamer(tensors, names, config, true).run();
}

Renaming to_memory(const std::vector<Tensor>& tensors, const TensorNames& names, const ModelConfig& config) {
  return Renamer(tensors, names, config, false).run();
}

}  // namespace mu
