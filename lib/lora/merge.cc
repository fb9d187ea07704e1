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
#include "lora/families.h"
#include "lora/merge_base.h"
#include "lora/merged_tensor.h"
#include "lora/module_names.h"
#include "lora/whole.h"
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
    names_ = ModuleNames(base_, *use.adapter);
    whole_.take(use, names_);
    for (const LoraModule& module : use.adapter->modules) {
      if (module.is_target) add_module(module);
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
    for (auto& [name, work] : work_) {
      Tensor* const tensor = base_.find(name);
      if (tensor == nullptr) continue;  // of a head that went
      base_.result.merged += work.steps.empty() ? 0 : 1;
      base_.result.replaced += work.rows.empty() ? 0 : 1;
      auto merged = std::make_shared<MergedTensor>(base_.weights(), *tensor, std::move(work.steps),
                                                   std::move(work.rows));
      compute_tensor(*tensor,
                     [merged](std::uint64_t at, std::span<std::byte> out) { merged->read(at, out); });
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
    whole_.note_change(*use_, tensor.name);
    return work_[tensor.name];
  }

  const Tensor& require(const std::string& module, const std::string& name) {
    const Tensor* tensor = base_.find_or_tied(name);
    const std::string& trained_on = use_->adapter->config.base_model;
    if (tensor == nullptr)
      throw malformed(fmt::format("{}: the base has no tensor '{}'", escape_name(module), escape_name(name)))
          .in_file(escape_name(use_->adapter->name))
          .hint(trained_on.empty() ? "is it the base this adapter was trained on?"
                                   : "the adapter was trained on " + escape_name(trained_on));
    if (!is_plain_float(tensor->dtype))
      fail(module, fmt::format("'{}' in the base is {}: merge into the weights from before quantisation",
                               escape_name(name), type_text(*tensor)));
    return *tensor;
  }

  void add_module(const LoraModule& module) {
    const LoraConfig& config = use_->adapter->config;
    if (!config.target_parameters.empty() && base_.find_or_tied(names_(module.name) + ".weight") == nullptr)
      return add_experts(module);
    const Tensor& tensor = require(module.name, names_(module.name) + ".weight");
    DeltaShape shape;
    shape.out = module.b->shape[0];
    shape.in = module.a->shape[1];
    const std::vector<std::uint64_t> plain = {shape.out, shape.in}, turned = {shape.in, shape.out};
    // PEFT corrects a wrong flag by the class of the layer. Here the family tells, and the shape.
    const bool conv1d =
        is_conv1d_family(base_.model_type()) || (base_.model_type().empty() && config.fan_in_fan_out);
    shape.transposed = module.is_embedding || (conv1d && tensor.shape == turned);
    if (tensor.shape != (shape.transposed ? turned : plain))
      fail(module.name, fmt::format("its delta is {} x {}, but the tensor is {}", shape.out, shape.in,
                                    shape_text(tensor.shape)));
    const auto scale = static_cast<float>(module.scale * use_->scale);
    work_on(tensor).steps.push_back({use_->adapter, &module, shape, scale, false});
    if (module.bias == nullptr) return;
    const Tensor& bias = require(module.name, names_(module.name) + ".bias");
    if (bias.element_count() != shape.out)
      fail(module.name, "its bias and the bias in the base differ in length");
    work_on(bias).steps.push_back({use_->adapter, &module, {}, scale, true});
  }

  // With target_parameters, the factors of the module itself belong to its last parameter, and "base_layer"
  // stands for the parameter before.
  void add_experts(const LoraModule& module) {
    const LoraConfig& config = use_->adapter->config;
    std::string container = module.name;
    std::size_t depth = 0;
    for (; container.ends_with(".base_layer"); ++depth) container.resize(container.size() - 11);
    std::vector<std::string> parameters;
    for (const std::string_view parameter : kExpertParameters) {
      const std::string path = container + "." + std::string(parameter);
      const bool is_target = std::any_of(
          config.target_parameters.begin(), config.target_parameters.end(), [&](const std::string& target) {
            return path == target || (path.ends_with(target) && path[path.size() - target.size() - 1] == '.');
          });
      if (is_target) parameters.push_back(path);
    }
    if (depth >= parameters.size())
      fail(module.name, "the base has no such module, and target_parameters names no known parameter of it");
    const std::string& path = parameters[parameters.size() - 1 - depth];
    if (module.a == nullptr || module.b == nullptr)
      fail(module.name, module.a == nullptr ? "has lora_B but no lora_A" : "has lora_A but no lora_B");
    if (base_.find_or_tied(names_(path)) == nullptr && add_single_experts(module, container, path)) return;
    const Tensor& tensor = require(module.name, names_(path));
    const std::vector<std::uint64_t>&a = module.a->shape, &b = module.b->shape, &w = tensor.shape;
    if (w.size() != 3 || w[0] == 0 || a.size() != 2 || b.size() != 2 || a[0] == 0 || a[0] != b[1] ||
        a[0] % w[0] != 0)
      fail(module.name, fmt::format("its factors don't fit a stack of experts of {}", shape_text(w)));
    check_rank(module, path, w[0]);
    DeltaShape shape{.experts = w[0], .of_experts = w[0], .out = b[0], .in = a[1]};
    const bool plain = w[1] == shape.out && w[2] == shape.in, turned = w[1] == shape.in && w[2] == shape.out;
    if (!plain && !turned)
      fail(module.name,
           fmt::format("its delta is {} x {}, but the experts are {}", shape.out, shape.in, shape_text(w)));
    shape.transposed = plain && turned ? stores_turned(container) : turned;
    const auto scale = static_cast<float>(config.scale_of(path) * use_->scale);
    work_on(tensor).steps.push_back({use_->adapter, &module, shape, scale, false});
  }

  void check_rank(const LoraModule& module, const std::string& path, std::uint64_t experts) const {
    const double rank = use_->adapter->config.rank_of(path);
    if (static_cast<double>(module.a->shape[0] / experts) != rank)
      fail(module.name,
           fmt::format("has rank {}, but adapter_config.json says {}", module.a->shape[0] / experts, rank));
  }

  // For square matrices, whose shapes don't tell.
  bool stores_turned(const std::string& container) {
    const auto stack = [&](std::string_view parameter) {
      return base_.find_or_tied(names_(container + "." + std::string(parameter)));
    };
    const Tensor *gate_up = stack(kExpertParameters[0]), *down = stack(kExpertParameters[1]);
    return gate_up != nullptr && down != nullptr &&
           has_transposed_experts(gate_up->shape, down->shape, base_.model_type());
  }

  // For files that store the matrices of each expert separately, under the names of older versions: gate and
  // up are the halves of gate_up_proj. False if the base has none of these.
  bool add_single_experts(const LoraModule& module, const std::string& container, const std::string& path) {
    struct Naming {
      std::string_view folder, gate, up, down;
    };
    const std::string parent = container.substr(0, container.rfind('.'));  // "model.layers.0.mlp"
    for (const Naming& naming :
         {Naming{"experts", "gate_proj", "up_proj", "down_proj"}, Naming{"experts", "w1", "w3", "w2"},
          Naming{"block_sparse_moe.experts", "w1", "w3", "w2"}}) {
      const std::string stem = names_(naming.folder == "experts" ? container
                                                                 : parent.substr(0, parent.rfind('.') + 1) +
                                                                       std::string(naming.folder));
      const auto name_of = [&](std::uint64_t expert, std::string_view matrix) {
        return fmt::format("{}.{}.{}.weight", stem, expert, matrix);
      };
      std::uint64_t experts = 0;
      while (base_.find_or_tied(name_of(experts, naming.down)) != nullptr) ++experts;
      if (experts == 0) continue;
      const bool down = path.ends_with("down_proj");
      const std::vector<std::string_view> matrices =
          down ? std::vector{naming.down} : std::vector{naming.gate, naming.up};
      const std::vector<std::uint64_t>&a = module.a->shape, &b = module.b->shape;
      if (a.size() != 2 || b.size() != 2 || a[0] == 0 || a[0] != b[1] || a[0] % experts != 0)
        fail(module.name, fmt::format("its factors don't fit a stack of {} experts", experts));
      check_rank(module, path, experts);
      const auto scale = static_cast<float>(use_->adapter->config.scale_of(path) * use_->scale);
      for (std::uint64_t expert = 0; expert < experts; ++expert) {
        for (std::size_t i = 0; i < matrices.size(); ++i) {
          const Tensor& tensor = require(module.name, name_of(expert, matrices[i]));
          const DeltaShape shape{.of_experts = experts,
                                 .first_expert = expert,
                                 .first_out = i * (b[0] / matrices.size()),
                                 .out = b[0] / matrices.size(),
                                 .in = a[1]};
          if (tensor.shape != std::vector{shape.out, shape.in})
            fail(module.name, fmt::format("its delta is {} x {}, but '{}' is {}", shape.out, shape.in,
                                          escape_name(tensor.name), shape_text(tensor.shape)));
          work_on(tensor).steps.push_back({use_->adapter, &module, shape, scale, false});
        }
      }
      return true;
    }
    return false;
  }

  void add_rows(const ReplacedRows& rows) {
    const Tensor& tensor = require(rows.module, names_(rows.module) + ".weight");
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
  ModuleNames names_;
  const AdapterUse* use_ = nullptr;
  std::map<std::string, Work> work_;
};

}  // namespace

MergeResult merge_adapters(Input& base, const std::vector<AdapterUse>& uses,
                           const std::vector<TiedName>& tied, bool keep_dtypes) {
  if (base.quantization)
    throw malformed(base.quantization->file + " has a " + base.quantization->place +
                    ": merge adapters into the weights from before quantisation")
        .in_file(escape_name(base.name));
  if (base.weights.tensors.empty()) throw malformed("holds no tensors").in_file(escape_name(base.name));
  Merger merger(base, tied, keep_dtypes);
  for (const AdapterUse& use : uses) merger.apply(use);
  return merger.finish(uses);
}

}  // namespace mu
