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
#include <unordered_map>

#include "base/error.h"
#include "base/text.h"
#include "lora/families.h"
#include "lora/merged_tensor.h"
#include "tensor/cast.h"
#include "tensor/format.h"
#include "weights/layout.h"

namespace mu {
namespace {

// "lm_head.weight" beside "model.embed_tokens.weight", with the prefix that both have.
std::string output_name_of(std::string_view input) {
  constexpr std::string_view kInput = "model.embed_tokens.weight";
  return input.ends_with(kInput)
             ? std::string(input.substr(0, input.size() - kInput.size())) + "lm_head.weight"
             : "lm_head.weight";
}

class Merger {
 public:
  Merger(Input& base, const std::vector<TiedName>& tied) : base_(base) {
    result_.tied = tied;
    std::vector<Tensor>& tensors = base.weights.tensors;
    for (std::size_t i = 0; i < tensors.size(); ++i) place_.emplace(tensors[i].name, i);
    model_type_ = base.config ? base.config->model_type : "";
    ties_ = base.config && base.config->tie_word_embeddings.value_or(false);
  }

  void apply(const AdapterUse& use) {
    use_ = &use;
    const std::string& how = use.adapter->config.initialisation;
    if (!how.empty())
      note(
          fmt::format("the adapter was made with {}, which changes the base before training: merging is "
                      "correct only into that changed base",
                      escape_name(how)));
    find_prefix();
    for (const LoraModule& module : use.adapter->modules) add_module(module);
    for (const ReplacedRows& rows : use.adapter->rows) add_rows(rows);
    for (const ReplacedTensor& replaced : use.adapter->replaced) replace(replaced);
  }

  // Only at the end, since several adapters may change the same tensor.
  MergeResult finish() {
    for (auto& [name, work] : work_) {
      Tensor& tensor = base_.weights.tensors[place_.at(name)];
      result_.merged += work.steps.empty() ? 0 : 1;
      result_.replaced += work.rows.empty() ? 0 : 1;
      auto merged =
          std::make_shared<MergedTensor>(base_.weights, tensor, std::move(work.steps), std::move(work.rows));
      give(tensor, [merged](std::uint64_t at, std::span<std::byte> out) { merged->read(at, out); });
    }
    for (Tensor& tensor : added_) base_.weights.tensors.push_back(std::move(tensor));
    return std::move(result_);
  }

 private:
  struct Work {
    std::vector<MergeStep> steps;
    std::vector<RowsStep> rows;
  };

  static void give(Tensor& tensor, std::function<void(std::uint64_t, std::span<std::byte>)> compute) {
    auto layout = std::make_shared<Layout>();
    layout->compute = std::move(compute);
    tensor.layout = std::move(layout);
  }

  [[noreturn]] void fail(const std::string& module, const std::string& why) const {
    throw malformed(fmt::format("{}: {}", escape_name(module), why))
        .in_file(escape_name(use_->adapter->name));
  }

  void note(std::string text) {
    if (std::find(result_.notes.begin(), result_.notes.end(), text) == result_.notes.end())
      result_.notes.push_back(std::move(text));
  }

  static bool is_output(std::string_view module) {
    return module == "lm_head" || module.ends_with(".lm_head");
  }

  std::string in_file(const std::string& name) const {
    return prefix_ + (strip_ > 0 && name.size() > strip_ ? name.substr(strip_) : name);
  }

  bool fits() const {
    const std::vector<LoraModule>& modules = use_->adapter->modules;
    return std::all_of(modules.begin(), modules.end(), [&](const LoraModule& module) {
      return module.name.find("experts") != std::string::npos || is_output(module.name) ||
             place_.contains(in_file(module.name) + ".weight");
    });
  }

  // Adapters name modules as the model class does; names in a base may lack the first component, or have one
  // more.
  void find_prefix() {
    strip_ = 0;
    prefix_.clear();
    if (use_->adapter->modules.empty() || fits()) return;
    const std::string& name = use_->adapter->modules.front().name;
    strip_ = name.find('.') + 1;
    if (strip_ > 0 && fits()) {
      note(fmt::format("names in the adapter begin with '{}', names in the base don't",
                       escape_name(name.substr(0, strip_))));
      return;
    }
    strip_ = 0;
    for (const std::string_view candidate : {"model.", "transformer.", "language_model."}) {
      prefix_ = candidate;
      if (!fits()) continue;
      note(fmt::format("names in the base begin with '{}', names in the adapter don't", prefix_));
      return;
    }
    prefix_.clear();
  }

  // The tensor of that name, or the one it is tied to; null if there is none.
  const Tensor* find(const std::string& name) {
    for (const TiedName& pair : result_.tied) {
      if (pair.dropped != name) continue;
      note(fmt::format("{} is tied to {}: both change", escape_name(name), escape_name(pair.kept)));
      return find(pair.kept);
    }
    const auto at = place_.find(name);
    if (at != place_.end()) return &base_.weights.tensors[at->second];
    const std::string kept = ties_ ? kept_name_of(name, tensors_by_name(base_.weights)) : "";
    if (kept.empty()) return nullptr;
    note(fmt::format("{} is tied to {}: both change", escape_name(name), escape_name(kept)));
    return find(kept);
  }

  const Tensor& require(const std::string& module, const std::string& name) {
    const Tensor* tensor = find(name);
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
    if (!config.target_parameters.empty() && find(in_file(module.name) + ".weight") == nullptr)
      return add_experts(module);
    const Tensor& tensor = require(module.name, in_file(module.name) + ".weight");
    DeltaShape shape;
    shape.out = module.b->shape[0];
    shape.in = module.a->shape[1];
    const std::vector<std::uint64_t> plain = {shape.out, shape.in}, turned = {shape.in, shape.out};
    // PEFT corrects a wrong flag by the class of the layer. Here the family tells, and the shape.
    const bool conv1d = is_conv1d_family(model_type_) || (model_type_.empty() && config.fan_in_fan_out);
    shape.transposed = module.is_embedding || (conv1d && tensor.shape == turned);
    if (tensor.shape != (shape.transposed ? turned : plain))
      fail(module.name, fmt::format("its delta is {} x {}, but the tensor is {}", shape.out, shape.in,
                                    shape_text(tensor.shape)));
    const auto scale = static_cast<float>(module.scale * use_->scale);
    work_[tensor.name].steps.push_back({use_->adapter, &module, shape, scale, false});
    if (module.bias == nullptr) return;
    const Tensor& bias = require(module.name, in_file(module.name) + ".bias");
    if (bias.element_count() != shape.out)
      fail(module.name, "its bias and the bias in the base differ in length");
    work_[bias.name].steps.push_back({use_->adapter, &module, {}, scale, true});
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
    if (find(in_file(path)) == nullptr && add_single_experts(module, container, path)) return;
    const Tensor& tensor = require(module.name, in_file(path));
    const std::vector<std::uint64_t>&a = module.a->shape, &b = module.b->shape, &w = tensor.shape;
    if (w.size() != 3 || w[0] == 0 || a.size() != 2 || b.size() != 2 || a[0] == 0 || a[0] != b[1] ||
        a[0] % w[0] != 0)
      fail(module.name, fmt::format("its factors don't fit a stack of experts of {}", shape_text(w)));
    DeltaShape shape{.experts = w[0], .of_experts = w[0], .out = b[0], .in = a[1]};
    const bool plain = w[1] == shape.out && w[2] == shape.in, turned = w[1] == shape.in && w[2] == shape.out;
    if (!plain && !turned)
      fail(module.name,
           fmt::format("its delta is {} x {}, but the experts are {}", shape.out, shape.in, shape_text(w)));
    shape.transposed = plain && turned ? stores_turned(container) : turned;
    const auto scale = static_cast<float>(config.scale_of(path) * use_->scale);
    work_[tensor.name].steps.push_back({use_->adapter, &module, shape, scale, false});
  }

  // For square matrices, whose shapes don't tell.
  bool stores_turned(const std::string& container) {
    const auto stack = [&](std::string_view parameter) {
      return find(in_file(container + "." + std::string(parameter)));
    };
    const Tensor *gate_up = stack(kExpertParameters[0]), *down = stack(kExpertParameters[1]);
    return gate_up != nullptr && down != nullptr &&
           has_transposed_experts(gate_up->shape, down->shape, model_type_);
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
      const std::string stem = in_file(naming.folder == "experts" ? container
                                                                  : parent.substr(0, parent.rfind('.') + 1) +
                                                                        std::string(naming.folder));
      const auto name_of = [&](std::uint64_t expert, std::string_view matrix) {
        return fmt::format("{}.{}.{}.weight", stem, expert, matrix);
      };
      std::uint64_t experts = 0;
      while (find(name_of(experts, naming.down)) != nullptr) ++experts;
      if (experts == 0) continue;
      const bool down = path.ends_with("down_proj");
      const std::vector<std::string_view> matrices =
          down ? std::vector{naming.down} : std::vector{naming.gate, naming.up};
      const std::vector<std::uint64_t>&a = module.a->shape, &b = module.b->shape;
      if (a.size() != 2 || b.size() != 2 || a[0] == 0 || a[0] != b[1] || a[0] % experts != 0)
        fail(module.name, fmt::format("its factors don't fit a stack of {} experts", experts));
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
          work_[tensor.name].steps.push_back({use_->adapter, &module, shape, scale, false});
        }
      }
      return true;
    }
    return false;
  }

  void add_rows(const ReplacedRows& rows) {
    const Tensor& tensor = require(rows.module, in_file(rows.module) + ".weight");
    if (tensor.shape.size() != 2 || tensor.shape[1] != rows.rows->shape[1])
      fail(rows.module, fmt::format("its trained rows have {} columns, but the embedding is {}",
                                    rows.rows->shape[1], shape_text(tensor.shape)));
    for (const std::uint64_t id : rows.ids) {
      if (id >= tensor.shape[0])
        fail(rows.module, fmt::format("a row was trained for token {}, which the base does not have", id));
    }
    work_[tensor.name].rows.push_back({use_->adapter, &rows});
  }

  // Whether the adapter holds that tensor whole.
  bool replaces(const std::string& name) const {
    const std::vector<ReplacedTensor>& list = use_->adapter->replaced;
    return std::any_of(list.begin(), list.end(),
                       [&](const ReplacedTensor& other) { return in_file(other.name) == name; });
  }

  // Unties an embedding that was trained separately. The other one keeps its values.
  void untie(const std::string& name) {
    const std::string output = output_name_of(name);
    const bool is_input = name != output && kept_name_of(output, {{name, nullptr}}) == name;
    const bool is_tied_output = !kept_name_of(name, tensors_by_name(base_.weights)).empty();
    if (!ties_ || !(is_input || is_tied_output)) return;
    std::erase_if(result_.tied,
                  [&](const TiedName& pair) { return pair.dropped == name || pair.kept == name; });
    result_.unties = true;
    note(fmt::format(
        "{} was trained separately from the tensor it is tied to: tie_word_embeddings becomes false",
        escape_name(name)));
    if (!is_input || place_.contains(output) || replaces(output)) return;
    Tensor old = base_.weights.tensors[place_.at(name)];
    old.name = output;
    added_.push_back(std::move(old));
  }

  void replace(const ReplacedTensor& replaced) {
    const std::string name = in_file(replaced.name);
    const auto at = place_.find(name);
    untie(name);
    if (at == place_.end() && !result_.unties) note(escape_name(name) + " is not in the base and is added");
    Tensor* const old = at == place_.end() ? nullptr : &base_.weights.tensors[at->second];
    const Dtype dtype = old != nullptr ? old->dtype : base_.weights.tensors.front().dtype;
    Tensor tensor = *replaced.tensor;
    if (!is_plain_float(dtype) || !is_plain_float(tensor.dtype))
      fail(replaced.name, "is not of a plain floating type");
    if (old != nullptr && tensor.shape != old->shape)
      fail(replaced.name, fmt::format("the tensor is {}, but in the base it is {}", shape_text(tensor.shape),
                                      shape_text(old->shape)));
    tensor.name = name;
    tensor.source = old != nullptr ? old->source : 0;
    tensor.offset = old != nullptr ? old->offset : 0;
    tensor.size = tensor.element_count() * bits(dtype) / 8;
    tensor.dtype = dtype;
    give(tensor, [adapter = use_->adapter, from = replaced.tensor, dtype](std::uint64_t begin,
                                                                          std::span<std::byte> out) {
      if (from->dtype == dtype) return adapter->weights.read(*from, begin, out);
      std::vector<std::byte> bytes(out.size() * bits(from->dtype) / bits(dtype));
      adapter->weights.read(*from, begin * bits(from->dtype) / bits(dtype), bytes);
      CastReport report;
      cast(from->dtype, dtype, bytes, out, report);
    });
    ++result_.replaced;
    if (old != nullptr)
      *old = std::move(tensor);
    else
      added_.push_back(std::move(tensor));
  }

  Input& base_;
  const AdapterUse* use_ = nullptr;
  std::unordered_map<std::string, std::size_t> place_;
  std::string model_type_, prefix_;
  std::size_t strip_ = 0;
  bool ties_ = false;
  std::map<std::string, Work> work_;
  std::vector<Tensor> added_;
  MergeResult result_;
};

}  // namespace

MergeResult merge_adapters(Input& base, const std::vector<AdapterUse>& uses,
                           const std::vector<TiedName>& tied) {
  if (base.quantization)
    throw malformed(base.quantization->file + " has a " + base.quantization->place +
                    ": merge adapters into the weights from before quantisation")
        .in_file(escape_name(base.name));
  if (base.weights.tensors.empty()) throw malformed("holds no tensors").in_file(escape_name(base.name));
  Merger merger(base, tied);
  for (const AdapterUse& use : uses) merger.apply(use);
  return merger.finish();
}

}  // namespace mu
