// SPDX-License-Identifier: Apache-2.0
// Tensors are sorted by what their names say: factors by module and slot, rows, whole tensors. The config then says
// of each module its scale and whether it is a target. What is to be merged must be whole and fit together, which
// sort_adapter() checks; read_adapter() leaves faults to a caller that reports them one by one.
#include "model/lora_adapter.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_map>

#include "base/error.h"
#include "base/in_file.h"
#include "base/text.h"
#include "model/adapter_forms.h"
#include "model/adapter_names.h"
#include "model/families.h"
#include "model/folder.h"
#include "model/module_path.h"
#include "model/placeholders.h"
#include "os/file.h"
#include "os/folder.h"
#include "weights/open/open.h"

namespace mu {
namespace {

constexpr std::uint64_t kMaxConfig = 16U << 20;  // bytes: real ones have some KB; bounds memory

// The slot of the module where a factor belongs, or null for an unknown one.
const Tensor** slot_of(LoraModule& module, std::string_view leaf) {
  if (leaf == "lora_A.weight") return &module.a;
  if (leaf == "lora_B.weight") return &module.b;
  if (leaf == "lora_B.bias") return &module.bias;
  if (leaf == "lora_magnitude_vector") return &module.magnitude;
  if (leaf == "lora_embedding_A") return module.is_embedding = true, &module.a;
  if (leaf == "lora_embedding_B") return module.is_embedding = true, &module.b;
  return nullptr;
}

[[noreturn]] void fail(const LoraModule& module, const std::string& why) {
  throw malformed(fmt::format("{}: {}", escape_name(module.name), why));
}

// Of all experts of a layer together ("A.experts"): no single layer has that name.
bool is_of_all_experts(std::string_view module) {
  constexpr std::string_view kLayer = ".base_layer";
  while (module.ends_with(kLayer)) module.remove_suffix(kLayer.size());
  return module.ends_with(".experts");
}

void check_module(const LoraModule& module, const LoraConfig& config) {
  const std::string kind = module.is_embedding ? "lora_embedding_" : "lora_";
  if (module.a == nullptr || module.b == nullptr)
    fail(module, fmt::format("has {}{} but no {}{}", kind, module.a == nullptr ? "B" : "A", kind,
                             module.a == nullptr ? "A" : "B"));
  for (const Tensor* tensor : {module.a, module.b, module.bias, module.magnitude}) {
    if (tensor != nullptr && !is_plain_float(tensor->dtype))
      fail(module, fmt::format("{} factors are not supported", short_name(tensor->dtype)));
  }
  const auto &a = module.a->shape, &b = module.b->shape;
  if (a.size() != b.size() || a.size() < 2) fail(module, "its factors are not matrices");
  if (a.size() > 2) fail(module, "factors of a convolution are not supported");
  if (a[0] == 0 || a[1] == 0 || b[0] == 0 || b[1] == 0)
    fail(module, "an empty factor, as ZeRO stage 3 leaves it: its values are in the partitions of the ranks");
  if (a[0] != b[1])
    fail(module,
         fmt::format("lora_A has {} rows but lora_B has {} columns: the slice of one rank, or a torn file",
                     a[0], b[1]));
  if (module.magnitude != nullptr && module.magnitude->element_count() != b[0])
    fail(module, "its magnitude vector does not have one value for each row of lora_B");
  if (module.bias != nullptr && module.bias->element_count() != b[0])
    fail(module, "its bias does not have one value for each row of lora_B");
  if (config.use_dora && module.magnitude == nullptr && !module.is_embedding)
    fail(module, "has no magnitude vector, although use_dora is set");
  // Those of a stack of experts have a rank for each expert: merge.h. Servers want no target_parameters beside them.
  if (config.rank == 0 || config.has_parameter_in(module.name) || is_of_all_experts(module.name)) return;
  const double rank = config.rank_of(module.name);
  if (static_cast<double>(module.rank) != rank)
    fail(module,
         fmt::format("has rank {}, but adapter_config.json says {}: PEFT can't load it", module.rank, rank));
}

// What follows from the config.
void settle_module(LoraModule& module, const LoraConfig& config) {
  if (module.a != nullptr && !module.a->shape.empty()) module.rank = module.a->shape[0];
  module.scale = config.scale_of(module.name);
  if (config.rank > 0 && !config.has_parameter_in(module.name) && !is_of_all_experts(module.name))
    module.is_target = config.covers(module.name, module.is_embedding);
}

ReplacedRows read_rows(const LoraConfig& config, const std::string& module, const Tensor& tensor) {
  const std::vector<std::uint64_t>* const ids = config.tokens_of(module);
  if (ids == nullptr)
    throw malformed(
        fmt::format("{}: has trained rows, but the config does not name their tokens", escape_name(module)));
  if (tensor.shape.size() != 2 || tensor.shape[0] != ids->size())
    throw malformed(fmt::format("{}: {} trained rows for {} token ids", escape_name(module),
                                tensor.shape.empty() ? 0 : tensor.shape[0], ids->size()));
  return {module, *ids, &tensor};
}

std::string dotted(const std::string& module, const std::string& leaf) {
  return module.empty() ? leaf : module + "." + leaf;
}

// Whether the tensor is of a module of modules_to_save, or of one below it.
bool is_of_saved_module(const LoraConfig& config, const AdapterName& name) {
  return name.piece == AdapterPiece::kSaved ||
         std::any_of(config.modules_to_save.begin(), config.modules_to_save.end(),
                     [&](const std::string& key) { return !saved_module(name.module, key).empty(); });
}

void add_factor(AdapterContent& content, std::unordered_map<std::string, std::size_t>& place,
                const AdapterName& name, const Tensor& tensor) {
  const auto [at, fresh] = place.try_emplace(name.module, content.modules.size());
  if (fresh) content.modules.push_back({.name = name.module});
  const Tensor** const slot = slot_of(content.modules[at->second], name.leaf);
  if (slot == nullptr)
    throw malformed(
        fmt::format("'{}' belongs to a variant of LoRA that is not supported", escape_name(tensor.name)));
  *slot = &tensor;
}

// Half a pair of factors leaves a null.
AdapterContent gather_content(const std::vector<Tensor>& tensors, const LoraConfig& config) {
  AdapterContent content;
  std::unordered_map<std::string, std::size_t> place;
  for (const Tensor& tensor : tensors) {
    const AdapterName name = parse_adapter_name(tensor.name);
    if (!name.adapter.empty())
      throw malformed(fmt::format("'{}' is a name from inside a training process", escape_name(tensor.name)))
          .hint("lora-extract saves the adapter under its published names");
    switch (name.piece) {
      case AdapterPiece::kTokens:
        content.rows.push_back(read_rows(config, name.module, tensor));
        break;
      case AdapterPiece::kFactor:
        add_factor(content, place, name, tensor);
        break;
      case AdapterPiece::kSaved:
      case AdapterPiece::kBase:
      case AdapterPiece::kBias: {
        const bool own = name.of_layer && name.leaf == "weight";
        (own ? content.layers : content.replaced)
            .push_back({dotted(name.module, name.leaf), &tensor, is_of_saved_module(config, name)});
        break;
      }
      case AdapterPiece::kFrozen:
        break;
    }
  }
  for (LoraModule& module : content.modules) settle_module(module, config);
  return content;
}

}  // namespace

AdapterContent sort_adapter(const std::vector<Tensor>& tensors, const LoraConfig& config) {
  AdapterContent content = gather_content(tensors, config);
  for (const LoraModule& module : content.modules) check_module(module, config);
  if (!content.modules.empty() && content.replaced.empty() && content.rows.empty() &&
      std::none_of(content.modules.begin(), content.modules.end(),
                   [](const LoraModule& module) { return module.is_target; }))
    throw malformed(
        "target_modules of adapter_config.json matches none of its modules: PEFT applies nothing of it");
  if (content.modules.empty() && content.replaced.empty() && content.rows.empty())
    throw malformed("holds no adapter");
  return content;
}

std::string target_parameter_of(const std::string& module, const LoraConfig& config) {
  constexpr std::string_view kLayer = ".base_layer";
  std::string container = module;
  std::size_t depth = 0;
  for (; container.ends_with(kLayer); ++depth) container.resize(container.size() - kLayer.size());
  std::vector<std::string> paths;  // in the order of registration
  const std::vector<std::string>& targets = config.target_parameters;
  const auto add = [&](const std::string& path) {
    const bool is_target = std::any_of(targets.begin(), targets.end(),
                                       [&](const std::string& target) { return ends_in_path(path, target); });
    if (is_target && std::find(paths.begin(), paths.end(), path) == paths.end()) paths.push_back(path);
  };
  for (const std::string_view parameter : kExpertParameters) add(container + "." + std::string(parameter));
  for (const std::string& target : targets) add(container + "." + std::string(last_component(target)));
  return depth < paths.size() ? paths[paths.size() - 1 - depth] : "";
}

std::string stack_of(const LoraModule& module, const LoraConfig& config) {
  std::string path = target_parameter_of(module.name, config);
  const bool is_layer = path == module.name + ".weight";
  const bool has_many = module.a != nullptr && !module.a->shape.empty() &&
                        static_cast<double>(module.a->shape[0]) > config.rank_of(module.name);
  return is_layer && !has_many ? "" : path;
}

namespace {

bool is_weights(std::string_view name) {
  const FileRole role = role_of(name, false);
  return role == FileRole::kWeights || role == FileRole::kTorchWeights;
}

// A file of weights, or the first in a folder; empty if there is none.
std::string weights_in(const std::string& path) {
  if (!is_folder(path)) return exists(path) && is_weights(base_name(path)) ? path : "";
  for (const FolderFile& file : scan_folder(path).files) {
    if (!file.is_folder && is_weights(file.name)) return join_path(path, file.name);
  }
  return "";
}

// What a path without an adapter_config.json is, if it is known, else that it is not an adapter.
[[noreturn]] void refuse(const std::string& path) {
  const std::string file = weights_in(path);
  if (!file.empty()) refuse_pipeline_adapter(open_input(file, StreamData::kCount).weights);
  throw Error(ErrorKind::kIo, "is not a folder with an adapter_config.json").in_file(escape_name(path));
}

// Takes the config from its text, of PEFT's form or MLX's, and gives the tensors PEFT's names.
void settle_form(Adapter& adapter, const std::string& config_path, std::string text) {
  const bool is_mlx = in_file(config_path, [&] { return is_mlx_config(text); });
  if (is_mlx) in_file(adapter.name, [&] { text = adopt_mlx_adapter(text, adapter.weights); });
  in_file(config_path, [&] { adapter.config = parse_lora_config(std::move(text)); });
}

}  // namespace

Adapter open_adapter(const std::string& path) {
  Adapter adapter;
  adapter.name = path;
  const std::string config = join_path(path, "adapter_config.json");
  if (!is_folder(path) || !exists(config)) refuse(path);
  std::string text = read_whole_file(config, kMaxConfig);
  Input input = open_input(path, StreamData::kCount);
  require_sound(input);
  require_state_dicts(input, false);
  require_no_placeholders(Placeholders(input.weights.tensors), input.name);
  adapter.weights = std::move(input.weights);
  refuse_pipeline_adapter(adapter.weights);
  settle_form(adapter, config, std::move(text));
  settle_spellings(adapter.weights);
  in_file(adapter.weights.files.front().name, [&] {
    static_cast<AdapterContent&>(adapter) = sort_adapter(adapter.weights.tensors, adapter.config);
  });
  return adapter;
}

Adapter read_adapter(const Input& input) {
  Adapter adapter;
  adapter.name = input.name;
  adapter.weights = input.weights;
  refuse_pipeline_adapter(adapter.weights);
  const std::string config =
      join_path(input.folder ? input.folder->path : parent_of(input.name), "adapter_config.json");
  if (exists(config)) settle_form(adapter, config, read_whole_file(config, kMaxConfig));
  if (!holds_factors(adapter.weights.tensors) && adapter.config.text.empty())
    throw malformed("is not an adapter").in_file(escape_name(input.name));
  settle_spellings(adapter.weights);
  in_file(adapter.weights.files.front().name, [&] {
    static_cast<AdapterContent&>(adapter) = gather_content(adapter.weights.tensors, adapter.config);
  });
  return adapter;
}

}  // namespace mu
