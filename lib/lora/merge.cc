// SPDX-License-Identifier: Apache-2.0
// How adapters are merged. Nothing is computed here: for each adapter in turn, its modules are matched with
// tensors of the base, and every tensor collects the steps that concern it (factors to add, rows to replace).
// Names are matched first, since a base may lack the prefix of the model class or have one more. Then each
// module finds its tensor: a weight of its own, the one it is tied to, a stack of experts
// (target_parameters), or the matrices of single experts in older files. At the end each tensor with steps
// becomes a MergedTensor, which does the arithmetic when it is read. Tensors that the adapter holds whole
// replace those of the base; an embedding that was trained separately from the one it is tied to is untied.

#include "lora/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/error.h"
#include "base/text.h"
#include "lora/classifier.h"
#include "lora/joined.h"
#include "lora/merge_base.h"
#include "lora/merged_tensor.h"
#include "lora/saved_modules.h"
#include "lora/whole.h"
#include "model/adapter_in_base.h"
#include "model/families.h"
#include "tensor/format.h"
#include "weights/layout.h"

namespace mu {
namespace {

class Merger {
 public:
  Merger(Input& input, const std::vector<TiedName>& tied, bool keep_dtypes)
      : base_(input, tied), whole_(base_, keep_dtypes) {}

  void apply(const AdapterUse& use) {
    use_ = &use;
    const std::string& how = use.adapter->config.initialisation;
    if (!how.empty())
      base_.note(
          fmt::format("the adapter was made with {}, which changes the base before training: merging is "
                      "correct only into that changed base",
                      escape_name(how)));
    found_ = find_in_base(*use.adapter, use.adapter->config, base_.input());
    names_ = found_.names;
    if (std::string note = names_.note(); !note.empty()) base_.note(std::move(note));
    names_of_.push_back(names_);
    whole_.take(use, names_);
    for (std::size_t i = 0; i < use.adapter->modules.size(); ++i) {
      const LoraModule& module = use.adapter->modules[i];
      if (!module.is_target) continue;
      const std::string& parameter = found_.modules[i].parameter;
      if (parameter == module.name + ".weight")
        add_module(module, parameter);
      else
        add_experts(module, parameter);
    }
    note_left_out();
    for (const ReplacedRows& rows : use.adapter->rows) add_rows(rows);
  }

  void note_left_out() {
    const std::vector<LoraModule>& modules = use_->adapter->modules;
    const auto is_out = [](const LoraModule& module) { return !module.is_target; };
    const auto first = std::find_if(modules.begin(), modules.end(), is_out);
    if (first == modules.end()) return;
    const auto count = static_cast<std::uint64_t>(std::count_if(first, modules.end(), is_out));
    base_.note(fmt::format(
        "{} of the adapter, {} first, {} left out: its target_modules don't name {}, and PEFT applies "
        "no other",
        plural(count, "module"), escape_name(first->name), count == 1 ? "is" : "are",
        count == 1 ? "it" : "them"));
  }

  // Only at the end, since several adapters may change the same tensor.
  MergeResult finish(const std::vector<AdapterUse>& uses) {
    whole_.finish();
    make_classifier(base_, uses);
    for (std::size_t i = 0; i < uses.size(); ++i) check_saved_modules(base_, *uses[i].adapter, names_of_[i]);
    for (auto& [name, work] : work_) {
      std::vector<std::string> names = base_.same_as(name);
      std::erase_if(names, [&](const std::string& one) { return !base_.contains(one); });
      if (names.empty()) continue;  // of a head that went
      base_.result.merged += work.steps.empty() ? 0 : 1;
      base_.result.replaced += work.rows.empty() ? 0 : 1;
      auto merged = std::make_shared<MergedTensor>(base_.weights(), *base_.find(names.front()),
                                                   std::move(work.steps), std::move(work.rows));
      const std::vector<std::pair<const Weights*, Tensor>> from = merged->reads();
      for (const std::string& one : names)
        compute_tensor(*base_.find(one), from,
                       [merged](const Sources& sources, std::uint64_t at, std::span<std::byte> out) {
                         merged->read(at, out, sources.losses());
                       });
    }
    return std::move(base_.result);
  }

 private:
  struct Work {
    std::vector<MergeStep> steps;
    std::vector<RowsStep> rows;
  };

  [[noreturn]] void fail(const std::string& module, const std::string& why) const {
    throw malformed(fmt::format("{}: {}", escape_name(module), why))
        .in_file(escape_name(use_->adapter->name));
  }

  // What the adapter under way changes in that tensor.
  Work& work_on(const Tensor& tensor) {
    for (const std::string& name : base_.same_as(tensor.name)) whole_.note_change(*use_, name);
    return work_[tensor.name];
  }

  // Names all modules that the base lacks, and for the first what may be meant.
  [[noreturn]] void fail_missing(const std::string& module, const std::string& name) const {
    const std::string& trained_on = use_->adapter->config.base_model;
    std::string hint = trained_on.empty() ? "is it the base this adapter was trained on?"
                                          : "the adapter was trained on " + escape_name(trained_on);
    std::vector<std::string> others, candidates;
    for (std::size_t i = 0; i < found_.modules.size(); ++i) {
      const LoraModule& one = use_->adapter->modules[i];
      if (!found_.modules[i].is_missing() || !one.is_target) continue;
      if (one.name == module)
        candidates = found_.modules[i].candidates;
      else
        others.push_back(escape_name(one.name));
    }
    for (std::string& candidate : candidates) candidate = escape_name(candidate);
    if (!candidates.empty()) hint += "; the base has " + join(candidates, ", ");
    constexpr std::size_t kShown = 5;
    std::string more;
    if (!others.empty()) {
      const std::size_t count = others.size();
      others.resize(std::min(count, kShown));
      more = fmt::format("; it lacks {} more: {}{}", plural(count, "module"), join(others, ", "),
                         count > kShown ? ", …" : "");
    }
    const std::string_view why =
        found_.is_ambiguous ? ", and more than one place in it fits the text model that was trained" : "";
    throw malformed(
        fmt::format("{}: the base has no tensor '{}'{}{}", escape_name(module), escape_name(name), why, more))
        .in_file(escape_name(use_->adapter->name))
        .hint(hint);
  }

  const Tensor& require(const std::string& module, const std::string& name) {
    const Tensor* const tensor = base_.find_or_tied(name);
    if (tensor == nullptr) fail_missing(module, name);
    if (!is_plain_float(tensor->dtype))
      fail(module, fmt::format("'{}' in the base is {}: merge into the weights from before quantisation",
                               escape_name(name), type_text(*tensor)));
    return *tensor;
  }

  void add_module(const LoraModule& module, const std::string& name) {
    const LoraConfig& config = use_->adapter->config;
    const Tensor& tensor = require(module.name, names_(name));
    DeltaShape shape;
    shape.out = module.b->shape[0];
    shape.in = module.a->shape[1];
    const std::vector<std::uint64_t> plain = {shape.out, shape.in}, turned = {shape.in, shape.out};
    // PEFT corrects a wrong flag by the class of the layer. Here the family tells, and the shape.
    const bool conv1d =
        is_conv1d_family(base_.model_type()) || (base_.model_type().empty() && config.fan_in_fan_out);
    shape.transposed = module.is_embedding || (conv1d && tensor.shape == turned);
    if (tensor.shape != (shape.transposed ? turned : plain))
      shape.begin = begin_of(module, tensor, name, shape.out, shape.in);
    const auto scale = static_cast<float>(module.scale * use_->scale);
    work_on(tensor).steps.push_back({use_->adapter, &module, shape, scale, false});
    if (module.bias == nullptr) return;
    const std::string bias_name = module.name + ".bias";
    const Tensor& bias = require(module.name, names_(bias_name));
    DeltaShape of_bias{.out = shape.out};
    if (bias.shape != std::vector<std::uint64_t>{shape.out})
      of_bias.begin = begin_of(module, bias, bias_name, shape.out, 1);
    work_on(bias).steps.push_back({use_->adapter, &module, of_bias, scale, true});
  }

  // Where a part begins that the base keeps with others in one tensor.
  std::uint64_t begin_of(const LoraModule& module, const Tensor& tensor, const std::string& name,
                         std::uint64_t rows, std::uint64_t columns) const {
    const std::optional<std::uint64_t> begin =
        begin_in(tensor.shape, name, names_.renamed(name), rows, columns);
    if (!begin)
      fail(module.name, fmt::format("its delta is {} x {}, but the tensor is {}", rows, columns,
                                    shape_text(tensor.shape)));
    return *begin;
  }

  // Of a parameter of target_parameters.
  void add_experts(const LoraModule& module, const std::string& path) {
    if (module.a == nullptr || module.b == nullptr)
      fail(module.name, module.a == nullptr ? "has lora_B but no lora_A" : "has lora_A but no lora_B");
    const Tensor* const stored = base_.find_or_tied(names_(path));
    const StackedParts* const parts = stored == nullptr ? base_.parts_of(path) : nullptr;
    if (parts != nullptr) return add_parts(module, path, *parts);
    const Tensor& tensor = require(module.name, names_(path));
    const std::vector<std::uint64_t>& w = tensor.shape;
    if (w.size() != 3)
      fail(module.name, "a stack of experts has three dimensions, but the base has " + shape_text(w));
    DeltaShape shape = shape_in_stack(module, path, w[0]);
    shape.experts = w[0];
    const bool plain = w[1] == shape.out && w[2] == shape.in, turned = w[1] == shape.in && w[2] == shape.out;
    if (!plain && !turned)
      fail(module.name,
           fmt::format("its delta is {} x {}, but the experts are {}", shape.out, shape.in, shape_text(w)));
    shape.transposed = plain && turned ? stores_turned(path.substr(0, path.rfind('.'))) : turned;
    const auto scale = static_cast<float>(use_->adapter->config.scale_of(path) * use_->scale);
    work_on(tensor).steps.push_back({use_->adapter, &module, shape, scale, false});
  }

  // How factors relate to a stack of so many experts.
  DeltaShape shape_in_stack(const LoraModule& module, const std::string& path, std::uint64_t experts) const {
    const std::vector<std::uint64_t>&a = module.a->shape, &b = module.b->shape;
    if (experts == 0 || a.size() != 2 || b.size() != 2 || a[0] == 0 || a[0] != b[1] || a[0] % experts != 0)
      fail(module.name, fmt::format("its factors don't fit a stack of {} experts", experts));
    const double rank = use_->adapter->config.rank_of(path);
    const std::uint64_t of_one = a[0] / experts;
    if (static_cast<double>(of_one) != rank)
      fail(module.name, fmt::format("has rank {}, but adapter_config.json says {}", of_one, rank));
    return {.of_experts = experts, .out = b[0], .in = a[1]};
  }

  // For square matrices, whose shapes don't tell.
  bool stores_turned(const std::string& container) {
    const auto stack = [&](std::string_view parameter) {
      return base_.find_or_tied(names_(container + "." + std::string(parameter)));
    };
    const Tensor *gate_up = stack("gate_up_proj"), *down = stack("down_proj");
    return gate_up != nullptr && down != nullptr &&
           has_transposed_experts(gate_up->shape, down->shape, base_.model_type());
  }

  // For files that keep a stack in parts, such as gate and up of each expert.
  void add_parts(const LoraModule& module, const std::string& path, const StackedParts& stack) {
    const DeltaShape whole = shape_in_stack(module, path, stack.shape[0]);
    if (stack.shape[1] != whole.out || stack.shape[2] != whole.in)
      fail(module.name, fmt::format("its delta is {} x {}, but the experts are {}", whole.out, whole.in,
                                    shape_text(stack.shape)));
    const auto scale = static_cast<float>(use_->adapter->config.scale_of(path) * use_->scale);
    std::uint64_t row = 0;  // of the stack, the experts one after the other
    for (const std::string& name : stack.names) {
      const Tensor& tensor = require(module.name, name);
      DeltaShape shape = whole;
      shape.first_expert = row / whole.out;
      shape.first_out = row % whole.out;
      shape.out = tensor.shape[0];
      row += shape.out;
      work_on(tensor).steps.push_back({use_->adapter, &module, shape, scale, false});
    }
  }

  void add_rows(const ReplacedRows& rows) {
    const Tensor& tensor = require(rows.module, names_(rows.module + ".weight"));
    if (tensor.shape.size() != 2 || tensor.shape[1] != rows.rows->shape[1])
      fail(rows.module, fmt::format("its trained rows have {} columns, but the embedding is {}",
                                    rows.rows->shape[1], shape_text(tensor.shape)));
    for (const std::uint64_t id : rows.ids) {
      if (id >= tensor.shape[0])
        fail(rows.module, fmt::format("a row was trained for token {}, which the base does not have", id));
    }
    work_on(tensor).rows.push_back({use_->adapter, &rows});
  }

  MergeBase base_;
  WholeModules whole_;
  AdapterInBase found_;                // of the adapter under way; its tensors may be gone
  NamesInBase names_;                  // the same
  std::vector<NamesInBase> names_of_;  // of all
  const AdapterUse* use_ = nullptr;
  std::map<std::string, Work> work_;
};

}  // namespace

MergeResult merge_adapters(Input& base, const std::vector<AdapterUse>& uses,
                           const std::vector<TiedName>& tied, bool keep_dtypes) {
  if (base.weights.tensors.empty()) throw malformed("holds no tensors").in_file(escape_name(base.name));
  Merger merger(base, tied, keep_dtypes);
  for (const AdapterUse& use : uses) merger.apply(use);
  return merger.finish(uses);
}

}  // namespace mu
