// SPDX-License-Identifier: Apache-2.0
// Stacks of experts are taken apart first (split_experts.h). Then each tensor X.weight is judged by its name, shape and
// type: it stays, with a reason, or gives way to its codes and scales. For NVFP4, those that servers put into one
// matrix share a scale (shared_sets below).
#include "pack/quantise.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <unordered_set>

#include "base/error.h"
#include "base/in_file.h"
#include "base/natural.h"
#include "base/text.h"
#include "model/fingerprint.h"
#include "model/quantised.h"
#include "model/tensor_names.h"
#include "os/interrupt.h"
#include "pack/quant_left.h"
#include "pack/split_experts.h"
#include "tensor/cast.h"
#include "tensor/format.h"
#include "weights/computed.h"
#include "weights/quant/encode_fp4.h"
#include "weights/quant/encode_fp8.h"

namespace mu {
namespace {

constexpr std::string_view kWeight = ".weight";

// The module of a weight; empty: it is none.
std::string_view module_of(std::string_view name) {
  return name.ends_with(kWeight) ? name.substr(0, name.size() - kWeight.size()) : "";
}

void refuse_quantised(const Input& input) {
  if (input.is_adapter())
    throw malformed("--quantize is for models: this is an adapter").hint("merge it with --adapter first");
  const auto hint = [](Error error) { return error.hint("--dequantize makes it plain first"); };
  if (input.quantization)
    throw hint(refused(fmt::format("is quantised already: {} has a {}", input.quantization->file,
                                   escape_name(input.quantization->place))));
  const std::vector<QuantPart> parts = quant_parts(input.weights.tensors);
  // A scale without a weight is a parameter that happens to be called so.
  const auto found = std::find_if(parts.begin(), parts.end(), [](const QuantPart& part) {
    return part.role == QuantRole::kWeight || (part.role == QuantRole::kScale && part.has_partner);
  });
  if (found == parts.end()) return;
  const Tensor& tensor = input.weights.tensors[static_cast<std::size_t>(found - parts.begin())];
  throw hint(refused(
      fmt::format("is quantised already: '{}' belongs to quantised weights", escape_name(tensor.name))));
}

// Why a weight stays as it is; empty: it is quantised.
std::string reason_to_stay(const TensorSpec& weight, const QuantizeOptions& options,
                           std::string_view model_type) {
  const std::string_view module = module_of(weight.name);
  if (const std::string_view role = left_plain_as(module, model_type); !role.empty())
    return std::string(role);
  if (weight.shape.size() == 1) return "norm or vector";
  if (weight.shape.size() != 2) return plural(weight.shape.size(), "dimension");
  if (matches_any(options.keep, module)) return "--keep";
  if (weight.size == 0) return "no elements";
  const bool whole = weight.shape[0] % kFp8Block == 0 && weight.shape[1] % kFp8Block == 0;
  return options.scheme == QuantScheme::kFp8 && !whole ? "not whole blocks of 128 x 128" : "";
}

// Throws kRefused for a weight that the scheme does not take.
void require_fitting(const TensorSpec& weight, QuantScheme scheme) {
  const std::string module = escape_name(module_of(weight.name));
  if (weight.dtype != Dtype::kBF16 && weight.dtype != Dtype::kF16 && weight.dtype != Dtype::kF32)
    throw refused(
        fmt::format("'{}' is {}; --quantize takes bf16, f16 and f32", module, short_name(weight.dtype)))
        .hint(fmt::format("cast it with --dtype, or leave it with --keep '{}'", module));
  const std::uint64_t group = facts_of(scheme).group;
  if (group == 0 || weight.shape[1] % group == 0) return;
  throw refused(fmt::format("'{}' {} can't be quantised to {}: its columns are not whole groups of {}",
                            module, shape_text(weight.shape), facts_of(scheme).name, group))
      .hint(fmt::format("--keep '{}' leaves it as it is", module));
}

// What is read for a weight: itself, or itself in the type to which --dtype casts it.
Tensor plain_weight(const PackedTensor& packed) {
  Tensor tensor = *packed.input;
  const Dtype from = tensor.dtype, to = packed.output.dtype;
  if (from == to) return tensor;
  std::string name = tensor.name;
  std::vector<std::uint64_t> shape = tensor.shape;
  return computed(std::move(name), to, std::move(shape), {std::move(tensor)},
                  [from, to](const Sources& sources, std::uint64_t at, std::span<std::byte> out) {
                    thread_local std::vector<std::byte> buffer;
                    const std::uint64_t in_size = bits(from) / 8, out_size = bits(to) / 8;
                    buffer.resize(out.size() / out_size * in_size);
                    sources.read(0, at / out_size * in_size, buffer);
                    CastReport report;
                    cast(from, to, buffer, out, report);
                    if (sources.losses() != nullptr) sources.losses()->add(report);
                  });
}

// The modules that servers put into one matrix, by the ends of their names (llm-compressor 0.14.0.1, microscale.py).
struct Fusion {
  std::array<std::string_view, 2> containers;  // what stands before, one of these
  std::array<std::string_view, 3> members;
};
constexpr std::array<Fusion, 4> kFusions = {{
    {{"attn.", "attention."}, {"q_proj", "k_proj", "v_proj"}},
    {{"attn.", "attention."}, {"wq_a", "wkv_a_with_mqa", ""}},
    {{"mlp.", "mlp."}, {"gate_proj", "up_proj", ""}},
    {{"", ""}, {"w1", "w3", ""}},
}};

// What the set of a module is called, where all of its members are among `weights`; else the module's own name.
std::string set_of(const std::string& module, const std::unordered_set<std::string_view>& weights) {
  for (std::size_t f = 0; f < kFusions.size(); ++f) {
    for (const std::string_view member : kFusions[f].members) {
      if (member.empty() || !module.ends_with(member)) continue;
      const std::string stem = module.substr(0, module.size() - member.size());
      const auto& containers = kFusions[f].containers;
      const bool fits = stem.ends_with(containers[0]) || stem.ends_with(containers[1]);
      const auto& members = kFusions[f].members;
      const bool whole = std::all_of(members.begin(), members.end(), [&](std::string_view other) {
        return other.empty() || weights.contains(stem + std::string(other) + std::string(kWeight));
      });
      if (fits && whole) return fmt::format("{}:{}", f, stem);
    }
  }
  return module;
}

class Quantiser {
 public:
  Quantiser(std::vector<PackedTensor>& tensors, const QuantizeOptions& options,
            const QuantizeContext& context)
      : tensors_(tensors), options_(options), context_(context) {
    const ModelConfig* const config = context.input.class_config();
    if (config != nullptr) model_type_ = config->model_type;
  }

  QuantizePlan run(std::vector<MadeTensors>& made) {
    plan_.scheme = options_.scheme;
    for (const PackedTensor& tensor : tensors_) plan_.bytes_before += tensor.output.size;
    split_experts(tensors_, options_.keep, context_.names.mode == NamesOptions::Mode::kAsIs, model_type_,
                  made);
    for (std::size_t i = 0; i < tensors_.size(); ++i) judge(i);
    if (modules_.empty()) throw nothing_left();
    encode_all();
    modules_.clear();  // models of many experts have so many of them that it counts
    replace(made);
    add_tied();
    finish();
    return std::move(plan_);
  }

 private:
  void judge(std::size_t i) {
    check_interrupt();
    const TensorSpec& weight = tensors_[i].output;
    if (!is_floating(weight.dtype)) return;
    if (std::vector<std::string> experts = expert_modules(weight); !experts.empty()) {
      plan_.left.push_back({weight.name, "--keep", weight.size, false});  // else it would have been split
      std::move(experts.begin(), experts.end(), std::back_inserter(plan_.plain));
      return;
    }
    const std::string_view module = module_of(weight.name);
    if (module.empty()) {
      if (weight.shape.size() > 1)
        plan_.left.push_back({weight.name, "no weight of a module", weight.size, false});
      return;
    }
    const std::string reason = reason_to_stay(weight, options_, model_type_);
    if (!reason.empty()) {
      const bool is_matrix = weight.shape.size() == 2 && reason != "norm";
      plan_.left.push_back({std::string(module), reason, weight.size, is_matrix});
      return;
    }
    require_fitting(weight, options_.scheme);
    PlainModule plain{std::string(module), plain_weight(tensors_[i])};
    plain.weight.name = weight.name;  // for messages
    if (options_.measure) plain.error = std::make_shared<QuantError>(plain.weight.element_count());
    plan_.modules.push_back({plain.name, plain.error});
    modules_.emplace(i, std::move(plain));
  }

  [[nodiscard]] Error nothing_left() const {
    std::map<std::string, std::uint64_t> reasons;
    for (const QuantizePlan::Left& left : plan_.left) ++reasons[left.reason];
    std::string list;
    for (const auto& [reason, count] : reasons)
      list += fmt::format("{}{} ({})", list.empty() ? ": " : ", ", reason, count);
    return refused(fmt::format("nothing to quantise in {}{}", plural(tensors_.size(), "tensor"), list))
        .hint("st-pack(1) says what stays");
  }

  void encode_all() {
    if (options_.scheme == QuantScheme::kNvfp4) return encode_sets();
    const auto cache = std::make_shared<MagnitudeCache>();
    for (const auto& [i, module] : modules_) {
      const bool is_mx = options_.scheme == QuantScheme::kMxfp4 || options_.scheme == QuantScheme::kMxfp4A16;
      const Fp8Scales scales = options_.scheme == QuantScheme::kFp8Dynamic ? Fp8Scales::kRows
                               : options_.scheme == QuantScheme::kFp8Block ? Fp8Scales::kBlocks
                                                                           : Fp8Scales::kFactor;
      encoded_[i] = is_mx ? encode_mxfp4(module) : encode_fp8(module, scales, cache);
    }
  }

  void encode_sets() {
    std::unordered_set<std::string_view> weights;
    for (const PackedTensor& tensor : tensors_) weights.insert(tensor.output.name);
    std::map<std::string, std::vector<std::size_t>> sets;
    for (const auto& [i, module] : modules_) sets[set_of(module.name, weights)].push_back(i);
    for (const auto& [name, members] : sets) {
      std::vector<PlainModule> set;
      for (const std::size_t i : members) set.push_back(modules_.at(i));
      const auto shared = std::make_shared<SharedMagnitude>();
      for (std::size_t k = 0; k < members.size(); ++k) encoded_[members[k]] = encode_nvfp4(set, k, shared);
    }
  }

  void replace(std::vector<MadeTensors>& made) {
    std::size_t count = 0;
    for (const auto& [i, encoded] : encoded_) count += encoded.size();
    const auto list = std::make_shared<std::vector<Tensor>>();
    list->reserve(count);  // pointers to its tensors stay valid
    std::vector<PackedTensor> out;
    out.reserve(tensors_.size() + count);
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      const auto found = encoded_.find(i);
      if (found == encoded_.end()) {
        out.push_back(std::move(tensors_[i]));
        continue;
      }
      const std::span<const Tensor* const> sources = tensors_[i].sources();
      for (Tensor& tensor : found->second) {
        const Tensor& kept = list->emplace_back(std::move(tensor));
        out.push_back(
            {&kept, {kept.name, kept.dtype, kept.shape, kept.size}, {sources.begin(), sources.end()}});
      }
      encoded_.erase(found);
    }
    tensors_ = std::move(out);
    made.push_back(list);
  }

  // A head that is tied to the embedding is a module as well, and loaders would look for its scales.
  void add_tied() {
    std::unordered_set<std::string_view> written;
    for (const PackedTensor& tensor : tensors_) written.insert(tensor.output.name);
    std::set<std::string> names;
    for (const std::string& name : context_.tied) {
      if (!written.contains(name) && !module_of(name).empty()) names.emplace(module_of(name));
    }
    for (const std::string& name : names) plan_.left.push_back({name, "tied to another tensor", 0, true});
  }

  // transformers (5.23) looks for these names among those of its modules in memory, which may be called otherwise:
  // "visual.blocks.0.attn.qkv" in files is "model.visual.blocks.0.attn.qkv" there. It does not look for embeddings, its
  // routers are not linear layers, and in the dialect of fp8 it renames the list itself.
  void add_names_of_memory() {
    const ModelConfig* const config = context_.input.class_config();
    if (config == nullptr || options_.scheme == QuantScheme::kFp8) return;
    const std::shared_ptr<const TensorNames> names = TensorNames::of(*config);
    if (!names) return;
    for (const QuantizePlan::Left& left : plan_.left) {
      const std::string weight = left.name + std::string(kWeight);
      if (!left.is_matrix || left.reason == "embedding" || left.reason == "router" ||
          names->side_of(weight) != NameSide::kPublished)
        continue;
      const RenamedTensor memory = names->load(weight);
      if (memory.conversion == nullptr) plan_.plain.emplace_back(module_of(memory.name));
    }
  }

  void finish() {
    std::sort(plan_.left.begin(), plan_.left.end(),
              [](const QuantizePlan::Left& a, const QuantizePlan::Left& b) {
                return natural_less(a.name, b.name);
              });
    for (const QuantizePlan::Left& left : plan_.left) {
      if (left.is_matrix) plan_.plain.push_back(left.name);
    }
    add_names_of_memory();
    std::sort(plan_.plain.begin(), plan_.plain.end(), natural_less);
    plan_.config = quantization_config(options_.scheme, plan_.plain);
    for (const PackedTensor& tensor : tensors_) plan_.bytes += tensor.output.size;
  }

  std::vector<PackedTensor>& tensors_;
  const QuantizeOptions& options_;
  const QuantizeContext& context_;
  std::string model_type_;
  QuantizePlan plan_;
  std::map<std::size_t, PlainModule> modules_;  // by the number of the tensor
  std::map<std::size_t, std::vector<Tensor>> encoded_;
};

}  // namespace

QuantizePlan quantise_tensors(std::vector<PackedTensor>& tensors, const QuantizeOptions& options,
                              const QuantizeContext& context, std::vector<MadeTensors>& made) {
  return in_file(context.input.name, [&] {
    refuse_quantised(context.input);
    QuantizePlan plan = Quantiser(tensors, options, context).run(made);
    require_own_names(tensors);
    return plan;
  });
}

ConfigEdit quantize_edit(const QuantizePlan& plan) {
  std::string json;
  for (const char c : plan.config)
    json += c == '\n' ? std::string("\n  ") : std::string(1, c);  // one level deeper
  return {{"quantization_config"}, std::move(json)};
}

std::string quantize_recipe(const QuantizeOptions& options) {
  Fingerprint recipe("quantize 1");
  recipe.add(facts_of(options.scheme).name);
  for (const Glob& glob : options.keep) recipe.add(glob.pattern());
  return recipe.finish();
}

std::vector<std::string> unmatched_keeps(const QuantizePlan& plan, const std::vector<Glob>& keep) {
  std::vector<std::string> unmatched;
  for (const Glob& glob : keep) {
    const auto matches = [&](const auto& module) { return glob.matches(module.name); };
    if (std::any_of(plan.plain.begin(), plan.plain.end(),
                    [&](const std::string& name) { return glob.matches(name); }) ||
        std::any_of(plan.left.begin(), plan.left.end(), matches) ||
        std::any_of(plan.modules.begin(), plan.modules.end(), matches))
      continue;
    unmatched.push_back(fmt::format("--keep '{}' matches no module", escape_name(glob.pattern())));
  }
  return unmatched;
}

}  // namespace mu
