// SPDX-License-Identifier: Apache-2.0
// Tensors are grouped by the module that their names come down to (quantised.h). The method is what the config says;
// files without one tell it by marks that no other method leaves. The method makes a plain tensor of each group, and
// what is left over must be known to be of no use.
#include "model/dequantise.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/in_file.h"
#include "base/json_write.h"
#include "base/sizes.h"
#include "base/text.h"
#include "model/families.h"
#include "model/module_path.h"
#include "model/plain_config.h"
#include "model/quant_summary.h"
#include "os/interrupt.h"
#include "weights/layout.h"
#include "weights/quant/awq.h"
#include "weights/quant/bitsandbytes.h"
#include "weights/quant/comfy.h"
#include "weights/quant/compressed.h"
#include "weights/quant/fp8.h"
#include "weights/quant/gpt_oss.h"
#include "weights/quant/gptq.h"
#include "weights/quant/torchao.h"

namespace mu {
namespace {

struct Method {
  std::string_view name;
  std::vector<QuantFamily> families;         // how its tensors may be spelled
  std::vector<std::string_view> companions;  // endings of what it reads beside a weight
  PlainOf (*open)(const QuantContext&);
};

template <MakePlain kMake>
PlainOf each(const QuantContext& context) {
  return [context](const StoredWeight& stored) { return kMake(stored, context); };
}

// A row for each method that can be made plain.
const std::vector<Method>& methods() {
  static const std::vector<Method> kMethods = {
      {"fp8", {QuantFamily::kScaled}, {"_scale_inv", ".scale", ".qscale_weight"}, each<plain_fp8>},
      {"awq", {QuantFamily::kGptq}, {".qzeros", ".scales"}, plain_awq},
      {"mxfp4", {QuantFamily::kBlocks}, {"_scales"}, each<plain_gpt_oss>},
      {"bitsandbytes",
       {QuantFamily::kBitsandbytes},
       {".SCB", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map",
        ".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4"},
       each<plain_bitsandbytes>},
      {"comfy", {QuantFamily::kComfy, QuantFamily::kScaled}, {".scale_weight", ".weight_scale"}, plain_comfy},
      {"compressed-tensors",
       {QuantFamily::kPacked, QuantFamily::kScaled},
       {".weight_scale", ".weight_zero_point", ".weight_shape", ".weight_g_idx", ".weight_global_scale"},
       plain_compressed},
      {"gptq", {QuantFamily::kGptq}, {".qzeros", ".scales", ".g_idx"}, plain_gptq},
      {"torchao", {QuantFamily::kTorchao}, {"._weight_scale", "._weight_zero_point"}, each<plain_torchao>},
  };
  return kMethods;
}

std::string_view family_text(QuantFamily family) {
  switch (family) {
    case QuantFamily::kPacked:
      return "compressed-tensors packs it";
    case QuantFamily::kGptq:
      return "GPTQ and AWQ store it";
    case QuantFamily::kBitsandbytes:
      return "bitsandbytes stores it";
    case QuantFamily::kTorchao:
      return "torchao stores it";
    case QuantFamily::kBlocks:
      return "gpt-oss stores it";
    case QuantFamily::kComfy:
      return "ComfyUI stores it";
    case QuantFamily::kNone:
    case QuantFamily::kScaled:
      break;
  }
  return "a value beside a scale";
}

class Planner {
 public:
  Planner(const Input& input, std::optional<Dtype> target)
      : input_(input),
        tensors_(input.weights.tensors),
        parts_(quant_parts(tensors_)),
        left_alone_(settings()) {
    plan_.target = target.value_or(stated_plain_dtype(input));
  }

  PlainModel run() {
    const PlainOf make = open();
    for (const auto& [at, one] : stored_) {
      check_interrupt();
      const StoredWeight& stored = one;  // clang 14 captures no bindings
      const std::string& file = input_.weights.files[stored.weight->source].name;
      Tensor plain = in_file(file, [&] { return plain_tensor(make(stored), plan_.target); });
      if (is_turned(plain)) plain = turned(plain);
      plan_.weights.push_back({at, std::move(plain), bytes_of(stored)});
    }
    require_companions(*method_);
    find_gone();
    require_scaled();
    require_names();
    return std::move(plan_);
  }

  void try_first() {
    const PlainOf make = open();
    if (!stored_.empty()) make(stored_.front().second);
  }

 private:
  // These libraries put a linear layer, which holds [out, in], in the place of Conv1D, which holds [in, out].
  [[nodiscard]] bool is_turned(const Tensor& plain) const {
    const ModelConfig* const config = input_.class_config();
    const bool replaces = plan_.method == "bitsandbytes" || plan_.method == "gptq";
    constexpr std::string_view kWeight = ".weight";
    std::string_view module = plain.name;
    if (config == nullptr || !replaces || !is_conv1d_family(config->model_type) || !module.ends_with(kWeight))
      return false;
    module.remove_suffix(kWeight.size());
    return plain.shape.size() == 2 && is_conv1d_layer(last_component(module));
  }

  PlainOf open() {
    group();
    method_ = &find_method();
    plan_.method = method_->name;
    require_family(*method_);
    context_.emplace(QuantContext{input_.weights, settings(), plan_.target});
    return in_file(input_.name, [&] { return method_->open(*context_); });
  }

  [[nodiscard]] const JsonValue& settings() const {
    static const JsonValue kNone;
    return input_.quantization ? input_.quantization->json : kNone;
  }

  [[nodiscard]] Error refusal(const std::string& message) const {
    return refused(message).in_file(escape_name(input_.name));
  }

  // Gathers what belongs to each weight. A tensor of fp8 without a scale is for the method to judge.
  void group() {
    std::map<std::string_view, std::vector<const Tensor*>> companions;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      const QuantPart& part = parts_[i];
      if (part.role == QuantRole::kScale || part.role == QuantRole::kMarker)
        companions[part.module].push_back(&tensors_[i]);
    }
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      const QuantPart& part = parts_[i];
      if (part.role == QuantRole::kWeight) {
        const auto found = companions.find(part.module);
        stored_.emplace_back(i, StoredWeight{part.module, &tensors_[i], {}});
        if (found != companions.end()) stored_.back().second.companions = found->second;
      } else if (part.role == QuantRole::kPlain && is_float8(tensors_[i].dtype)) {
        std::string_view module = tensors_[i].name;
        if (module.ends_with(".weight")) module.remove_suffix(7);
        unscaled_.emplace_back(i, StoredWeight{std::string(module), &tensors_[i], {}});
      }
    }
  }

  [[nodiscard]] Error nothing_quantised() const {
    const auto foreign = std::find_if(tensors_.begin(), tensors_.end(),
                                      [](const Tensor& tensor) { return tensor.dtype == Dtype::kForeign; });
    if (foreign != tensors_.end())
      return refusal(fmt::format("{} has type {}, which can't be made plain here", quoted_name(foreign->name),
                                 escape_name(type_text(*foreign))))
          .hint("save the model as safetensors first");
    const auto sparse = std::find_if(tensors_.begin(), tensors_.end(),
                                     [](const Tensor& tensor) { return tensor.name.ends_with(".bitmask"); });
    if (sparse != tensors_.end())
      return refusal(fmt::format("{} belongs to a sparse weight, which can't be made plain here",
                                 quoted_name(sparse->name)));
    if (!input_.quantization)
      return refusal("nothing in it is quantised")
          .hint("leave out --dequantize; --dtype casts plain tensors");
    return refusal(fmt::format("{} has a {}, but all tensors are plain", input_.quantization->file,
                               escape_name(input_.quantization->place)))
        .hint("take that out of the config if they are");
  }

  const Method& find_method() {
    const std::string_view by_marks = method_by_marks(input_, parts_);
    const bool is_given = input_.quantization && !input_.quantization->method.empty();
    const bool is_plain = stored_.empty() && unscaled_.empty() && by_marks.empty();
    if (is_plain && !is_given) throw nothing_quantised();
    const std::string_view name = is_given ? std::string_view(input_.quantization->method) : by_marks;
    if (name.empty())
      throw refusal(
          fmt::format("{} is quantised, but no quantization_config says how",
                      quoted_name((stored_.empty() ? unscaled_ : stored_).front().second.weight->name)))
          .hint(input_.has_weights ? "put the config.json of the model beside it"
                                   : "name one of its folders, which has a config.json of its own");
    const auto found = std::find_if(methods().begin(), methods().end(),
                                    [name](const Method& method) { return method.name == name; });
    if (found == methods().end())
      throw refusal(fmt::format("the quant_method {} can't be made plain here", quoted_name(name)))
          .hint("its own library can, in Python");
    if (is_plain) throw nothing_quantised();
    add_unscaled(*found);
    return *found;
  }

  // Files of ComfyUI have fp8 tensors that are numbers as they stand, others only those that the config leaves alone.
  void add_unscaled(const Method& method) {
    for (auto& one : unscaled_) {
      if (method.name == "comfy" || (method.name == "fp8" && !left_alone_.contains(one.second.module)))
        stored_.push_back(std::move(one));
    }
    std::sort(stored_.begin(), stored_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  }

  // The config must speak of what lies in the files.
  void require_family(const Method& method) const {
    for (const auto& [at, stored] : stored_) {
      const QuantFamily family = parts_[at].family;
      if (family == QuantFamily::kNone ||
          std::find(method.families.begin(), method.families.end(), family) != method.families.end())
        continue;
      throw refusal(fmt::format("{} says {}, but {} is stored as {}",
                                input_.quantization ? input_.quantization->file : "what else is in it",
                                quoted_name(method.name), quoted_name(stored.weight->name),
                                family_text(family)));
    }
  }

  [[nodiscard]] static std::uint64_t bytes_of(const StoredWeight& stored) {
    std::uint64_t bytes = stored.weight->size;
    for (const Tensor* const one : stored.companions) bytes += one->size;
    return bytes;
  }

  // What the method does not read could change the values.
  void require_companions(const Method& method) const {
    for (const auto& [at, stored] : stored_) {
      for (const Tensor* const one : stored.companions) {
        const bool is_read =
            std::any_of(method.companions.begin(), method.companions.end(),
                        [one](std::string_view ending) { return one->name.ends_with(ending); });
        if (is_read || is_of_activations(one->name) || role_of(*one) == QuantRole::kMarker) continue;
        throw refused(fmt::format("{} belongs to {}, which can't be made plain with that",
                                  quoted_name(one->name), quoted_name(stored.weight->name)))
            .in_file(escape_name(input_.weights.files[one->source].name));
      }
    }
  }

  [[nodiscard]] QuantRole role_of(const Tensor& tensor) const {
    return parts_[static_cast<std::size_t>(&tensor - tensors_.data())].role;
  }

  // What stays has values that stand for themselves: few bits without a scale have lost it.
  void require_scaled() const {
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      const Tensor& tensor = tensors_[i];
      const bool is_weight = tensor.name.ends_with(".weight") || tensor.name.ends_with("_blocks") ||
                             tensor.name.ends_with("_scales");
      const bool is_small = is_float8(tensor.dtype) || (is_integer(tensor.dtype) && bits(tensor.dtype) == 8);
      if (parts_[i].role != QuantRole::kPlain || !is_weight || !is_small || tensor.shape.size() < 2) continue;
      if (std::ranges::binary_search(stored_, i, {}, [](const auto& one) { return one.first; }) ||
          left_alone_.contains(tensor.name.substr(0, tensor.name.rfind('.'))))
        continue;
      throw malformed(fmt::format("{} is {}, and nothing beside it says what its values are times",
                                  quoted_name(tensor.name), name(tensor.dtype)))
          .in_file(escape_name(input_.weights.files[tensor.source].name));
    }
  }

  // Companions of weights go with them. Scales of activations and caches mean nothing to plain weights.
  void find_gone() {
    std::set<const Tensor*> used;
    for (const auto& [at, stored] : stored_) used.insert(stored.companions.begin(), stored.companions.end());
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      const QuantRole role = parts_[i].role;
      const bool is_left_over = role == QuantRole::kScale && !used.contains(&tensors_[i]);
      if (used.contains(&tensors_[i]) || role == QuantRole::kMarker || is_of_activations(tensors_[i].name))
        plan_.gone.push_back(i);
      else if (is_left_over)
        throw malformed(fmt::format("{} belongs to quantised weights, but there are none beside it",
                                    quoted_name(tensors_[i].name)))
            .in_file(escape_name(input_.weights.files[tensors_[i].source].name));
    }
  }

  [[nodiscard]] static bool is_of_activations(std::string_view name) {
    constexpr std::array<std::string_view, 14> kEndings = {
        ".k_scale",         ".v_scale",      ".q_scale",      ".input_scale",      ".input_global_scale",
        "activation_scale", ".scale_input",  ".output_scale", ".prob_scale",       ".input_zero_point",
        ".k_zero_point",    ".v_zero_point", ".qscale_act",   ".output_zero_point"};
    return std::any_of(kEndings.begin(), kEndings.end(),
                       [name](std::string_view ending) { return name.ends_with(ending); });
  }

  // A plain tensor may not stand beside another one of its name.
  void require_names() const {
    std::set<std::size_t> replaced(plan_.gone.begin(), plan_.gone.end());
    for (const PlainModel::Weight& one : plan_.weights) replaced.insert(one.stored);
    std::set<std::string_view> names;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      if (!replaced.contains(i)) names.insert(tensors_[i].name);
    }
    for (const PlainModel::Weight& one : plan_.weights) {
      if (names.insert(one.plain.name).second) continue;
      throw malformed(fmt::format("{} would be {} when plain, and there is another tensor of that name",
                                  quoted_name(tensors_[one.stored].name), quoted_name(one.plain.name)))
          .in_file(escape_name(input_.weights.files[tensors_[one.stored].source].name));
    }
  }

  const Input& input_;
  const std::vector<Tensor>& tensors_;
  std::vector<QuantPart> parts_;
  LeftAlone left_alone_;
  std::vector<std::pair<std::size_t, StoredWeight>> stored_, unscaled_;  // with the index of the weight
  const Method* method_ = nullptr;
  std::optional<QuantContext> context_;
  PlainModel plan_;
};

}  // namespace

std::uint64_t PlainModel::stored_bytes() const {
  std::uint64_t bytes = 0;
  for (const Weight& one : weights) bytes += one.stored_bytes;
  return bytes;
}

std::uint64_t PlainModel::plain_bytes() const {
  std::uint64_t bytes = 0;
  for (const Weight& one : weights) bytes += one.plain.size;
  return bytes;
}

bool is_quantised(const Input& input) {
  if (input.quantization) return true;
  const std::vector<QuantPart> parts = quant_parts(input.weights.tensors);
  return std::any_of(parts.begin(), parts.end(),
                     [](const QuantPart& part) { return part.role == QuantRole::kWeight; });
}

PlainModel plan_plain(const Input& input, std::optional<Dtype> target) {
  return Planner(input, target).run();
}

Dtype parse_plain_dtype(std::string_view text) {
  const std::optional<Dtype> dtype = parse_user_dtype(text);
  for (const Dtype allowed : {Dtype::kBF16, Dtype::kF16, Dtype::kF32}) {
    if (dtype == allowed) return allowed;
  }
  throw usage(fmt::format("--dequantize takes bf16, f16 or f32, not '{}'", escape_name(text)));
}

std::string plain_objection(const Input& input) {
  try {
    Planner(input, std::nullopt).try_first();
  } catch (const Error& error) {
    return error.message();
  }
  return "";
}

std::string scheme_text(const PlainFacts& facts) {
  return escape_name(facts.format.empty() ? facts.method : facts.method + " " + facts.format);
}

PlainChange make_plain(Input& input, PlainModel plan) {
  PlainChange change;
  const std::optional<QuantSummary> summary = sum_up_quantised(input);
  change.facts = {plan.method,         summary ? summary->format : "",
                  plan.target,         plan.weights.size(),
                  plan.stored_bytes(), plan.plain_bytes()};
  change.line = fmt::format("is quantised ({}): {} dequantised to {}, {} -> {}", scheme_text(change.facts),
                            plural(change.facts.weights, "weight"), short_name(plan.target),
                            format_size(change.facts.stored_bytes), format_size(change.facts.plain_bytes));
  change.recipe = fmt::format("plain 1 {} {}", plan.method, short_name(plan.target));
  if (input.quantization) change.recipe += input.quantization->text;
  if (const ModelConfig* const config = input.class_config()) {
    change.config = plain_config_edits(config->root, plan.target);
    change.recipe += config->text;
  }
  change.metadata = {"tensor_names", "_quantization_metadata"};
  std::vector<Tensor>& tensors = input.weights.tensors;
  for (PlainModel::Weight& one : plan.weights) {
    tensors[one.stored] = std::move(one.plain);
  }
  std::vector<Tensor> left;
  left.reserve(tensors.size() - plan.gone.size());
  auto gone = plan.gone.begin();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (gone != plan.gone.end() && *gone == i)
      ++gone;
    else
      left.push_back(std::move(tensors[i]));
  }
  tensors = std::move(left);
  if (plan.method == "torchao") {  // says of every tensor what it is
    for (const Tensor& tensor : tensors) change.metadata.push_back(tensor.name);
  }
  input.quantization.reset();
  return change;
}

}  // namespace mu
